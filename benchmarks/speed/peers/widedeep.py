"""pytorch-widedeep. Environment: ``pip install pytorch-widedeep``, which takes a CUDA build of torch along."""

import contextlib
from importlib.metadata import version

from contest import BATCH_ROWS, CATEGORICAL, DENSE, EMBEDDING_DIM, HIDDEN, LEARNING_RATE, Contest, scores

contest = Contest("pytorch-widedeep")
with contest.part("import"):
    import numpy as np
    import pandas as pd
    import torch

    # It imports torchvision for tables too, whose CUDA build does not know these on a CPU build of torch.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in (
        "nms(Tensor dets, Tensor scores, float iou_threshold)",
        "qnms(Tensor dets, Tensor scores, float iou_threshold)",
    ):
        with contextlib.suppress(RuntimeError):
            library.define(f"{operator} -> Tensor")
    from pytorch_widedeep import Trainer
    from pytorch_widedeep.models import TabMlp, Wide, WideDeep
    from pytorch_widedeep.preprocessing import TabPreprocessor, WidePreprocessor
if contest.model != "WideDeep":
    raise SystemExit(f"{contest.model}: not one of its own")
torch.set_num_threads(contest.threads)
with contest.part("prepare"):
    text = dict.fromkeys(CATEGORICAL, str)
    train, valid = (pd.read_csv(one, dtype=text) for one in (contest.train_file, contest.valid_file))
    for rows in (train, valid):
        rows[CATEGORICAL] = rows[CATEGORICAL].fillna("-1")
        rows[DENSE] = np.log1p(rows[DENSE].fillna(0).astype("float64"))
    tabular = TabPreprocessor(
        cat_embed_cols=[(one, EMBEDDING_DIM) for one in CATEGORICAL], continuous_cols=DENSE, cols_to_scale=DENSE
    )
    wide_rows = WidePreprocessor(wide_cols=CATEGORICAL)
    train_input = {"X_tab": tabular.fit_transform(train), "X_wide": wide_rows.fit_transform(train)}
    valid_input = {"X_tab": tabular.transform(valid), "X_wide": wide_rows.transform(valid)}
torch.manual_seed(0)
with contest.part("build"):
    deep = TabMlp(
        column_idx=tabular.column_idx,
        cat_embed_input=tabular.cat_embed_input,
        continuous_cols=DENSE,
        mlp_hidden_dims=list(HIDDEN),
        mlp_dropout=0.0,
        mlp_activation="relu",
    )
    model = WideDeep(wide=Wide(input_dim=int(train_input["X_wide"].max()) + 1, pred_dim=1), deeptabular=deep)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    trainer = Trainer(model, objective="binary", optimizers=optimizer, num_workers=0, verbose=0, device="cpu")
with contest.part("train"):
    trainer.fit(**train_input, target=train.label.values, n_epochs=1, batch_size=BATCH_ROWS)
with contest.part("evaluate"):
    measured = scores(valid.label.values, trainer.predict_proba(**valid_input, batch_size=BATCH_ROWS)[:, 1])
contest.finish(
    version("pytorch-widedeep"),
    train_rows=len(train),
    valid_rows=len(valid),
    parameters=sum(one.numel() for one in model.parameters()),
    **measured,
)
