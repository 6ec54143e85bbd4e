"""DeepCTR-Torch, as its README says. Environment: ``pip install torch deepctr-torch requests pandas``."""

from importlib.metadata import version

from contest import (
    BATCH_ROWS,
    CATEGORICAL,
    CIN,
    CROSS_LAYERS,
    DENSE,
    EMBEDDING_DIM,
    HIDDEN,
    LEARNING_RATE,
    Contest,
    read_with_pandas,
    scores,
)

contest = Contest("deepctr-torch")
with contest.part("import"):
    import deepctr_torch.models as zoo
    import torch
    from deepctr_torch.inputs import DenseFeat, SparseFeat, get_feature_names
torch.set_num_threads(contest.threads)
with contest.part("prepare"):
    rows, num_train = read_with_pandas(contest)
    sizes = {name: contest.size(name, int(rows[name].max()) + 1) for name in CATEGORICAL}
    columns = [SparseFeat(name, vocabulary_size=size, embedding_dim=EMBEDDING_DIM) for name, size in sizes.items()]
    columns += [DenseFeat(name, 1) for name in DENSE]
    train = {name: rows[name].values[:num_train] for name in get_feature_names(columns)}
    valid = {name: rows[name].values[num_train:] for name in get_feature_names(columns)}
    labels = rows[["label"]].values
torch.manual_seed(0)
BUILD = {
    "DeepFM": lambda **common: zoo.DeepFM(columns, columns, **common),
    "WideDeep": lambda **common: zoo.WDL(columns, columns, **common),
    "DCN": lambda **common: zoo.DCN(columns, columns, cross_num=CROSS_LAYERS, **common),
    "DCNv2": lambda **common: zoo.DCN(
        columns, columns, cross_num=CROSS_LAYERS, cross_parameterization="matrix", **common
    ),
    "xDeepFM": lambda **common: zoo.xDeepFM(
        columns, columns, cin_layer_size=CIN, cin_split_half=False, cin_activation="linear", **common
    ),
}
with contest.part("build"):
    model = BUILD[contest.model](
        task="binary", device="cpu", l2_reg_embedding=0, l2_reg_linear=0, dnn_hidden_units=HIDDEN
    )
    model.compile(torch.optim.Adam(model.parameters(), LEARNING_RATE), "binary_crossentropy")
with contest.part("train"):
    model.fit(train, labels[:num_train], batch_size=BATCH_ROWS, epochs=1, verbose=0)
with contest.part("evaluate"):
    probabilities = model.predict(valid, BATCH_ROWS)
    measured = scores(labels[num_train:], probabilities)
contest.finish(
    version("deepctr-torch"),
    train_rows=num_train,
    valid_rows=len(rows) - num_train,
    parameters=sum(one.numel() for one in model.parameters()),
    **measured,
)
