"""derf.Monitor as a callback of Transformers' Trainer and of Lightning."""

import importlib
from typing import Any

from .monitor import Monitor


def for_transformers(every: int = 50, **options: Any) -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])`` that watches the model's layers in training.

    What :meth:`derf.Monitor.as_dict` has goes into each log, and so into ``trainer.state.log_history`` and to what
    prints logs. A reporter that the Trainer called before (TensorBoard, W&B) sees it from the callback that is
    first: ``trainer.callback_handler.callbacks.insert(0, callback)``.

    Args:
        every: forwards, as in :class:`derf.Monitor`; options likewise.

    Attributes:
        monitor: the :class:`derf.Monitor`, from the beginning of the training on.

    Raises:
        ImportError: where transformers is not installed.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise ImportError("derf: for_transformers needs the package transformers: pip install transformers") from error

    class MonitorCallback(TrainerCallback):
        monitor: Monitor | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
            self.monitor = Monitor(model, every, **options)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
            if self.monitor is None or logs is None:
                return
            values = self.monitor.as_dict()
            logs.update(values)
            if state.log_history:
                state.log_history[-1].update(values)

        def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            if self.monitor is not None:
                self.monitor.close()

    return MonitorCallback()


def for_lightning(every: int = 50, **options: Any) -> Any:
    """A callback for Lightning's ``Trainer(callbacks=[...])`` that watches the module's layers and logs what it sees.

    Args:
        every: batches, as in :class:`derf.Monitor`; options likewise.

    Attributes:
        monitor: the :class:`derf.Monitor`, from the beginning of the training on.

    Raises:
        ImportError: where neither lightning nor pytorch_lightning is installed.
    """
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            base: Any = importlib.import_module(package).Callback
            break
        except ImportError:
            continue
    else:
        raise ImportError("derf: for_lightning needs the package lightning: pip install lightning")

    class MonitorCallback(base):
        monitor: Monitor | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            # Lightning calls training_step, not the module's forward.
            self.monitor = Monitor(pl_module, every, count_forwards=False, **options)

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.monitor.begin_step()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx % every == 0:
                pl_module.log_dict(self.monitor.as_dict())

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.monitor.close()

    return MonitorCallback()
