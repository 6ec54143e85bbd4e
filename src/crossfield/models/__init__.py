"""The catalogue: every model by the name that the command line, recipes and docs use."""

from crossfield.models.base import Model
from crossfield.models.dcn import DCN
from crossfield.models.deepfm import DeepFM
from crossfield.models.dlrm import DLRM
from crossfield.models.dnn import DNN
from crossfield.models.fm import FM
from crossfield.models.gmf import GMF
from crossfield.models.logistic_regression import LogisticRegression
from crossfield.models.mf import MF
from crossfield.models.mlp import NCFMLP
from crossfield.models.neumf import NeuMF
from crossfield.models.popularity import Popularity
from crossfield.models.wide_deep import WideDeep

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
}
