"""TorchRec in one process, its embedding collection and DLRM. It has no reader: rows come through pandas.

Environment: ``pip install torch==2.13.0``, ``pip install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0``, then
``tensordict torchmetrics==1.0.3 tqdm pyre-extensions pandas scikit-learn``.
"""

from contest import (
    BATCH_ROWS,
    CATEGORICAL,
    DENSE,
    DLRM_BOTTOM,
    EMBEDDING_DIM,
    HIDDEN,
    LEARNING_RATE,
    Contest,
    read_with_pandas,
    scores,
)

contest = Contest("torchrec")
with contest.part("import"):
    import torch
    import torchrec
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
    from torchrec.models.dlrm import DLRM
torch.set_num_threads(contest.threads)
with contest.part("prepare"):
    rows, num_train = read_with_pandas(contest)
    ids = torch.from_numpy(rows[CATEGORICAL].to_numpy("int64"))
    dense = torch.from_numpy(rows[DENSE].to_numpy("float32"))
    labels = torch.from_numpy(rows["label"].to_numpy("float32"))
torch.manual_seed(0)
LENGTHS = torch.ones(BATCH_ROWS * len(CATEGORICAL), dtype=torch.int32)


def jagged(some: torch.Tensor) -> KeyedJaggedTensor:
    return KeyedJaggedTensor(keys=CATEGORICAL, values=some.t().reshape(-1), lengths=LENGTHS[: some.numel()])


with contest.part("build"):
    tables = [
        EmbeddingBagConfig(
            name=name,
            embedding_dim=EMBEDDING_DIM,
            num_embeddings=contest.size(name, int(size) + 1),
            feature_names=[name],
        )
        for name, size in zip(CATEGORICAL, ids.amax(0), strict=True)
    ]
    model = DLRM(EmbeddingBagCollection(tables=tables), len(DENSE), [*DLRM_BOTTOM, EMBEDDING_DIM], [*HIDDEN, 1])
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    loss_of = torch.nn.BCEWithLogitsLoss()
with contest.part("train"):
    for batch in torch.randperm(num_train).split(BATCH_ROWS):
        loss = loss_of(model(dense[batch], jagged(ids[batch])).squeeze(-1), labels[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
with contest.part("evaluate"), torch.no_grad():
    model.eval()
    batches = torch.arange(num_train, len(labels)).split(BATCH_ROWS)
    logits = torch.cat([model(dense[batch], jagged(ids[batch])).squeeze(-1) for batch in batches])
    measured = scores(labels[num_train:], logits.sigmoid())
contest.finish(
    torchrec.__version__,
    train_rows=num_train,
    valid_rows=len(labels) - num_train,
    parameters=sum(one.numel() for one in model.parameters()),
    **measured,
)
