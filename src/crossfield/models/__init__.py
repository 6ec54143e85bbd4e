"""The catalogue: every model by the name that the command line, recipes and docs use."""

from crossfield.models.autoint import AutoInt
from crossfield.models.base import Model
from crossfield.models.dcn import DCN
from crossfield.models.dcn_mix import DCNMix
from crossfield.models.dcn_v2 import DCNV2
from crossfield.models.deepfm import DeepFM
from crossfield.models.dhen import DHEN
from crossfield.models.dlrm import DLRM
from crossfield.models.dnn import DNN
from crossfield.models.dualmlp import DualMLP
from crossfield.models.ease import EASE
from crossfield.models.eulernet import EulerNet
from crossfield.models.fcn import FCN
from crossfield.models.fibinet import FiBiNET
from crossfield.models.finalmlp import FinalMLP
from crossfield.models.finalnet import FinalNet
from crossfield.models.fm import FM
from crossfield.models.gdcn import GDCN
from crossfield.models.gmf import GMF
from crossfield.models.ials import IALS
from crossfield.models.logistic_regression import LogisticRegression
from crossfield.models.masknet import MaskNet
from crossfield.models.mf import MF
from crossfield.models.mlp import NCFMLP
from crossfield.models.neumf import NeuMF
from crossfield.models.popularity import Popularity
from crossfield.models.rankmixer import RankMixer
from crossfield.models.wide_deep import WideDeep
from crossfield.models.wukong import Wukong
from crossfield.models.xdeepfm import XDeepFM

CATALOGUE: dict[str, type[Model]] = {
    "popularity": Popularity,
    "logistic_regression": LogisticRegression,
    "mf": MF,
    "gmf": GMF,
    "mlp": NCFMLP,
    "neumf": NeuMF,
    "fm": FM,
    "dnn": DNN,
    "wide_deep": WideDeep,
    "dcn": DCN,
    "deepfm": DeepFM,
    "dlrm": DLRM,
    "xdeepfm": XDeepFM,
    "dcn_v2": DCNV2,
    "dcn_mix": DCNMix,
    "dhen": DHEN,
    "dualmlp": DualMLP,
    "finalmlp": FinalMLP,
    "masknet": MaskNet,
    "finalnet": FinalNet,
    "fcn": FCN,
    "autoint": AutoInt,
    "fibinet": FiBiNET,
    "gdcn": GDCN,
    "eulernet": EulerNet,
    "wukong": Wukong,
    "rankmixer": RankMixer,
    "ials": IALS,
    "ease": EASE,
}
