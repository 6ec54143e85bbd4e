"""Published numbers by model, with their sources; nothing here is ours, and nothing is remembered."""

from dataclasses import dataclass

SOURCES = {
    "bars": "BARS, one selected run",
    "paper": "the paper",
    "dcn_v2": "the DCN-V2 paper, table 6, mean of 5 runs",
    "finalmlp": "the FinalMLP paper's table",
    "eulernet": "the authors' logs (RUCAIBox/EulerNet)",
    "fcn": "the authors' table (salmon1802/FCN)",
    "interformer": "the InterFormer paper, table 3, as a baseline",
    "ncf": "the NCF paper, tables 2 and 3",
    "ncf weights": "the NCF authors' weights, scored by us",
    "notes": "third-party notes on the paper",
}


@dataclass(frozen=True)
class Published:
    """What was measured on which data. ours: TABLE/ROW of our tables that runs the same, as far as there is one."""

    data: str
    metrics: dict[str, str]
    source: str
    setting: str = ""
    ours: str = ""


def _bars(data: str, auc: str, log_loss: str, parameters: str, *, setting: str = "", ours: str = "") -> Published:
    metrics = {"AUC": auc, "log loss": log_loss, "parameters": parameters}
    return Published(data, metrics, SOURCES["bars"], setting, ours)


def _two(data: str, auc: str, log_loss: str, source: str, setting: str = "") -> Published:
    return Published(data, {"AUC": auc, "log loss": log_loss}, SOURCES[source], setting)


def _top_10(data: str, hit_rate: str, ndcg: str, source: str, setting: str, *, ours: str = "") -> Published:
    """The held-out item among 99 others, drawn at random."""
    return Published(f"{data}, 99 negatives", {"HR@10": hit_rate, "NDCG@10": ndcg}, SOURCES[source], setting, ours)


_FRAPPE, _MOVIELENS, _CRITEO = "Frappe_x1", "MovielensLatest_x1", "Criteo_x1"
_CRITEO_DAYS = "Criteo, 6 days + half a day"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "popularity": (
        _top_10("MovieLens-1M", "0.4535", "0.2543", "notes", "in Rendle et al. 2020", ours="ncf/popularity"),
        _top_10("Pinterest", "0.2740", "0.1409", "notes", "in Rendle et al. 2020"),
    ),
    "mf": (
        _top_10("MovieLens-1M", "0.7294", "0.4523", "notes", "tuned, width 192"),
        _top_10("Pinterest", "0.8895", "0.5794", "notes", "tuned, width 192"),
    ),
    "gmf": (_top_10("MovieLens-1M", "0.6368", "0.3691", "ncf weights", "8 factors", ours="ncf/gmf-8"),),
    "mlp": (
        _top_10("MovieLens-1M", "0.671", "0.399", "ncf", "3 layers, 8 factors", ours="ncf/mlp-3-8"),
        _top_10("MovieLens-1M", "0.702", "0.426", "ncf", "3 layers, 64 factors"),
        _top_10("MovieLens-1M", "0.6710", "0.3963", "ncf weights", "3 layers, 8 factors"),
    ),
    "neumf": (
        _top_10("MovieLens-1M", "0.684", "0.403", "ncf", "pre-trained, 8 factors"),
        _top_10("MovieLens-1M", "0.730", "0.447", "ncf", "pre-trained, 64 factors"),
        _top_10("Pinterest", "0.877", "0.552", "ncf", "pre-trained, 64 factors"),
    ),
    "logistic_regression": (
        _bars(_FRAPPE, "0.935584", "0.307643", "5,390", ours="frappe/logistic_regression"),
        _bars(_MOVIELENS, "0.934189", "0.320077", "90,240"),
        _bars(_CRITEO, "0.788625", "0.460914", "2,086,317"),
    ),
    "fm": (
        _bars(_FRAPPE, "0.967108", "0.206515", "59,280", ours="frappe/fm"),
        _bars(_MOVIELENS, "0.943435", "0.272893", "992,630"),
        _bars(_CRITEO, "0.802157", "0.449063", "22,949,477"),
    ),
    "dnn": (
        _bars(_FRAPPE, "0.983323", "0.162229", "781,892", setting="YoutubeDNN; its MLP twice", ours="frappe/dnn"),
        _bars(_MOVIELENS, "0.967764", "0.238757", "1,574,392", setting="YoutubeDNN; its MLP twice"),
        _bars(_CRITEO, "0.813668", "0.438218", "21,818,362", setting="YoutubeDNN; its MLP twice"),
    ),
    "wide_deep": (
        _bars(_FRAPPE, "0.984124", "0.148974", "423,280", setting="no crosses", ours="frappe/wide_deep"),
        _bars(_MOVIELENS, "0.968789", "0.216132", "1,328,630", setting="no crosses"),
        _bars(_CRITEO, "0.81386", "0.438004", "23,429,477", setting="no crosses"),
    ),
    "dcn": (
        _bars(_FRAPPE, "0.983907", "0.15266", "418,591", ours="frappe/dcn"),
        _bars(_MOVIELENS, "0.968719", "0.215987", "1,238,661"),
        _bars(_CRITEO, "0.813798", "0.438057", "21,343,491"),
        Published(_CRITEO_DAYS, {"log loss": "0.4419"}, SOURCES["paper"], "best; 0.4422 over 10 runs"),
    ),
    "deepfm": (
        _bars(_FRAPPE, "0.984243", "0.148174", "423,280", ours="frappe/deepfm"),
        _bars(_MOVIELENS, "0.968515", "0.213002", "1,328,630"),
        _bars(_CRITEO, "0.813666", "0.438147", "23,429,477"),
        _two("Criteo, random 9:1", "0.8007", "0.45083", "paper", "arXiv version"),
    ),
    "dlrm": (
        _bars(_CRITEO, "0.813804", "0.438155", "21,664,241"),
        _two(_CRITEO_DAYS, "0.8092", "0.4427", "dcn_v2"),
    ),
    "xdeepfm": (
        _bars(_FRAPPE, "0.984507", "0.146604", "429,809", setting="CIN with biases", ours="frappe/xdeepfm"),
        _bars(_FRAPPE, "0.978241", "0.23522", "147,984", setting="CIN alone, with biases", ours="frappe/xdeepfm_cin"),
        _bars(_MOVIELENS, "0.969674", "0.240939", "1,351,767", setting="CIN with biases"),
        _bars(_CRITEO, "0.813901", "0.438018", "23,461,462", setting="CIN with biases"),
        _two("Criteo, random 8:1:1", "0.8052", "0.4418", "paper"),
    ),
    "dcn_v2": (
        _bars(_FRAPPE, "0.984478", "0.149149", "458,391", setting="parallel, 4 layers", ours="frappe/dcn_v2"),
        _bars(_FRAPPE, "0.972914", "0.221563", "94,391", setting="crosses alone", ours="frappe/dcn_v2_crossnet"),
        _bars(_MOVIELENS, "0.969098", "0.214736", "1,243,071"),
        _bars(_CRITEO, "0.814195", "0.437788", "22,018,021"),
        _two(_CRITEO_DAYS, "0.8115", "0.4406", "paper", "mean of 5 runs"),
        _two("MovieLens-1M, 80:10:10", "0.8950", "0.3170", "paper", "mean of 5 runs"),
    ),
    "dcn_mix": (
        _two(_CRITEO_DAYS, "0.8112", "0.4408", "paper", "mean of 5 runs"),
        _two("MovieLens-1M, 80:10:10", "0.8964", "0.3160", "paper", "mean of 5 runs"),
    ),
    "dhen": (
        _two("AmazonElectronics", "0.8790", "0.4398", "interformer"),
        _two("TaobaoAd", "0.6509", "0.1929", "interformer"),
        _two("KuaiVideo", "0.7424", "0.4365", "interformer"),
        Published("Meta's own", {"NE": "-0.27 %"}, SOURCES["paper"], "against AdvancedDLRM"),
    ),
    "dualmlp": (
        Published(_FRAPPE, {"AUC": "0.9847"}, SOURCES["finalmlp"], ours="frappe/dualmlp"),
        Published(_MOVIELENS, {"AUC": "0.9698"}, SOURCES["finalmlp"]),
        Published(_CRITEO, {"AUC": "0.8142"}, SOURCES["finalmlp"]),
    ),
    "finalmlp": (
        _bars(_FRAPPE, "0.986072", "0.148415", "253,392", ours="frappe/finalmlp"),
        _bars(_MOVIELENS, "0.971968", "0.196645", "1,040,902"),
        _bars(_CRITEO, "0.814902", "0.437025", "22,478,162"),
    ),
    "masknet": (
        _bars(_FRAPPE, "0.983683", "0.16958", "571,691", setting="parallel", ours="frappe/masknet"),
        _bars(_MOVIELENS, "0.967201", "0.236404", "2,624,541"),
        _bars(_CRITEO, "0.813909", "0.438021", "21,530,629"),
        Published("Criteo, random 8:1:1", {"AUC": "0.8124"}, SOURCES["paper"], "parallel"),
        Published("Criteo, random 8:1:1", {"AUC": "0.8119"}, SOURCES["paper"], "serial"),
    ),
    "finalnet": (
        _bars(_FRAPPE, "0.985744", "0.13107", "338,502", setting="2B", ours="frappe/finalnet"),
        _bars(_FRAPPE, "0.98522", "0.13655", "256,791", setting="1B", ours="frappe/finalnet_1b"),
        _bars(_MOVIELENS, "0.972538", "0.194088", "1,106,234", setting="2B"),
        _bars(_CRITEO, "0.815438", "0.43652", "21,658,582", setting="2B"),
    ),
    "fcn": (
        _two("Criteo_x4", "0.8162", "0.4358", "fcn"),
        _two("Avazu_x4", "0.7970", "0.3695", "fcn"),
        _two("MovieLens-1M", "0.9074", "0.3001", "fcn"),
    ),
    "autoint": (
        _bars(_FRAPPE, "0.983085", "0.163684", "306,051", ours="frappe/autoint"),
        _bars(_FRAPPE, "0.984812", "0.149007", "622,180", setting="AutoInt+", ours="frappe/autoint_plus"),
        _bars(_MOVIELENS, "0.966292", "0.222845", "1,047,798"),
        _bars(_MOVIELENS, "0.969188", "0.214772", "1,383,799", setting="AutoInt+"),
        _bars(_CRITEO, "0.812593", "0.439238", "23,364,453"),
        _bars(_CRITEO, "0.813939", "0.437892", "23,844,454", setting="AutoInt+"),
        _two("Criteo", "0.8061", "0.4455", "paper", "mean of 10 runs"),
    ),
    "fibinet": (
        _bars(_FRAPPE, "0.983182", "0.194074", "743,480", ours="frappe/fibinet"),
        _bars(_MOVIELENS, "0.957579", "0.251849", "1,340,790"),
        _bars(_CRITEO, "0.81301", "0.438826", "29,273,411"),
        _two("Criteo, random 9:1", "0.8105", "0.4421", "paper", "a matrix per pair"),
    ),
    "gdcn": (
        Published("Criteo, random 8:1:1", {"AUC": "0.8161"}, SOURCES["notes"], "parallel, mean of 10 runs"),
        Published("Frappe, random 8:1:1", {"AUC": "0.9852"}, SOURCES["notes"], "parallel, mean of 10 runs"),
        Published("Frappe, random 8:1:1", {"AUC": "0.9838"}, SOURCES["notes"], "stacked, mean of 10 runs"),
    ),
    "eulernet": (
        Published(
            _FRAPPE,
            {"AUC": "0.984775", "log loss": "0.131309", "parameters": "108,889"},
            SOURCES["eulernet"],
            "248 weights unused",
            "frappe/eulernet",
        ),
        Published(
            _MOVIELENS, {"AUC": "0.970296", "log loss": "0.198821", "parameters": "920,520"}, SOURCES["eulernet"]
        ),
    ),
    "wukong": (
        _two("Frappe", "0.9868", "0.1757", "paper"),
        _two("MovieLens-Latest", "0.9723", "0.1794", "paper"),
        _two("KuaiVideo", "0.7414", "0.4367", "paper"),
        _two("TaobaoAds", "0.6488", "0.1954", "paper"),
    ),
    "rankmixer": (),
    "ials": (
        _top_10("MovieLens-1M", "0.722", "0.445", "paper", "width 64"),
        _top_10("Pinterest", "0.892", "0.573", "paper", "width 64"),
    ),
    "ease": (Published("Gowalla, LightGCN's split", {"Recall@20": "0.1765", "NDCG@20": "0.1467"}, SOURCES["bars"]),),
}
"""By catalogue name. BARS's rows named DLRM on Frappe and MovieLens are plain MLPs and left out."""
