"""What a training run can be told: one config, so that flags, recipes and Python say the same words."""

from typing import Literal

from pydantic import Field

from crossfield.acceleration import Precision, Switch
from crossfield.optim import OptimConfig


class TrainConfig(OptimConfig):
    """How to train: the [train] section of a recipe."""

    epochs: int = Field(10, ge=1)
    """Most passes over the training rows."""
    batch_size: int = Field(4096, ge=1)
    """Rows per step (positives, where negatives are drawn)."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    """Decides first weights, order of rows, dropout, and which negatives are drawn or left out; not which rows are
    those to test on: that is data.split_seed."""
    threads: int | None = Field(None, ge=1)
    """CPU threads; by default what torch chooses. Results repeat exactly only with the same number."""
    precision: Precision = "auto"
    """bf16 computes most of the forward and backward pass in 16 bits; auto does so where the device has instructions
    for it. Weights, losses, evaluation and prediction are fp32 always."""
    mesh: str = Field("auto", pattern=r"^(auto|[1-9]\d*x[1-9]\d*)$")
    """Under torchrun, how the dense part lies on the processes: "4x8" is four replicas, each sharded over eight (HSDP);
    "1x8" is FSDP, "8x1" plain replication. auto replicates what fits. Tables lie by rows on all of them either way."""
    tables: Literal["memory", "disk", "torchrec"] = "memory"
    """Where embedding tables, their optimiser's state and their best weights lie: disk keeps them as files beside the
    run, of which the system holds in memory what is in use; for row-sparse optimisers on a CPU. torchrec has TorchRec
    lay tables out over the GPUs, one or several, and update rows inside the backward pass; without embedding_l2 and
    clip_norm, and of widths that 4 divides."""
    table_cache: float | None = Field(None, gt=0, lt=1)
    """With tables=torchrec on a GPU: keep tables in host memory and this share of their rows, those in use, on the GPU;
    by default all rows are there."""
    lost_seconds: float = Field(600.0, gt=0)
    """Under torchrun, seconds without an answer after which another process counts as lost."""
    compile: Switch = "auto"
    """Compile the model for the full batches; auto does so where training takes far longer than the 30 s it costs."""
    cuda_graph: bool = False
    """On a GPU, record a step once and launch it whole from then on. Not for multi-valued fields, nor for a clip with
    row-sparse optimisers: such steps run as they are."""
    pad_widths: bool = True
    """Round layer widths up to a multiple of 16 while computing; weights are stored as they are."""
    objective: Literal["bce", "bpr"] = "bce"
    """What is minimised: binary cross-entropy, with what its paper adds for each branch where the model has branches
    (finalnet, fcn), or BPR of positives against drawn negatives."""
    negatives: int = Field(0, ge=0)
    """Negatives drawn per positive where the rows have no label; 0 means 4 with bce, 1 with bpr."""
    negative_sampling: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn."""
    monitor: str | None = None
    """Validation metric that decides; by default the first one measured: auc with labels, hr@10 without."""
    monitor_items: Literal["drawn", "all"] = "drawn"
    """Without labels, what each validation pair is ranked among: 99 drawn items, quick, but blind to what happens above
    the first hundredth; or, as evaluation does, all items that its user has not met."""
    patience: int = Field(2, ge=1)
    """Evaluations in a row without an improvement after which training stops."""
    min_delta: float = Field(1e-6, ge=0)
    """What counts as an improvement."""
    plateau_factor: float = Field(0.1, gt=0, le=1)
    """The learning rate is multiplied by this after each evaluation without an improvement; 1 leaves it."""
    min_lr: float = Field(1e-6, ge=0)
    """The learning rate does not go below this."""
    keep_state: bool = True
    """Keep what the optimisers remember beside the finished run, one or two numbers per weight, so that an update with
    new rows goes on where training ended."""
    watch_test: bool = False
    """Also measure the test part at every evaluation and keep it in the history; nothing is chosen by it."""
    evals_per_epoch: int = Field(1, ge=1)
    """Evaluations per epoch."""
    checkpoint_seconds: float = Field(60.0, ge=0)
    """Seconds between checkpoints, more where writing one takes over a tenth of them; 0 writes one after every step."""
    start_from: tuple[str, ...] = ()
    """Finished runs whose weights to start from: one of the same model, or for neumf one of gmf and one of mlp."""
    tensorboard: bool = False
    """Keep records for TensorBoard beside log.jsonl."""
