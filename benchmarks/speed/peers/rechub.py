"""Torch-RecHub, after its Criteo example. Environment: ``pip install torch torch-rechub``."""

from importlib.metadata import version

from contest import (
    BATCH_ROWS,
    CATEGORICAL,
    CROSS_LAYERS,
    DENSE,
    EMBEDDING_DIM,
    HIDDEN,
    LEARNING_RATE,
    Contest,
    read_with_pandas,
    scores,
)

contest = Contest("torch-rechub")
with contest.part("import"):
    import torch
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models import ranking
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator
torch.set_num_threads(contest.threads)
with contest.part("prepare"):
    rows, num_train = read_with_pandas(contest)
    dense = [DenseFeature(name) for name in DENSE]
    sizes = {name: contest.size(name, int(rows[name].max()) + 1) for name in CATEGORICAL}
    ids = [SparseFeature(name, vocab_size=size, embed_dim=EMBEDDING_DIM) for name, size in sizes.items()]
    labels = rows.pop("label").values.astype("float32")
    train, valid = ({name: rows[name].values[part] for name in DENSE + CATEGORICAL} for part in
                    (slice(num_train), slice(num_train, None)))  # fmt: skip
    loaders = DataGenerator(train, labels[:num_train]).generate_dataloader(
        x_val=valid,
        y_val=labels[num_train:],
        x_test=valid,
        y_test=labels[num_train:],
        batch_size=BATCH_ROWS,
        num_workers=0,
    )
torch.manual_seed(0)
MLP = {"dims": list(HIDDEN), "dropout": 0.0, "activation": "relu"}
BUILD = {
    "DeepFM": lambda: ranking.DeepFM(deep_features=dense, fm_features=ids, mlp_params=MLP),
    "WideDeep": lambda: ranking.WideDeep(wide_features=dense, deep_features=ids, mlp_params=MLP),
    "DCN": lambda: ranking.DCN(features=dense + ids, n_cross_layers=CROSS_LAYERS, mlp_params=MLP),
    "DCNv2": lambda: ranking.DCNv2(
        features=dense + ids, n_cross_layers=CROSS_LAYERS, mlp_params=MLP, use_low_rank_mixture=False
    ),
}
with contest.part("build"):
    model = BUILD[contest.model]()
    optimizer = {"lr": LEARNING_RATE, "weight_decay": 0}
    trainer = CTRTrainer(model, optimizer_params=optimizer, n_epoch=1, device="cpu", model_path=str(contest.work))
with contest.part("train"):
    trainer.train_one_epoch(loaders[0])
with contest.part("evaluate"):
    measured = scores(labels[num_train:], trainer.predict(trainer.model, loaders[1]))
contest.finish(
    version("torch-rechub"),
    train_rows=num_train,
    valid_rows=len(rows) - num_train,
    parameters=sum(one.numel() for one in model.parameters()),
    **measured,
)
