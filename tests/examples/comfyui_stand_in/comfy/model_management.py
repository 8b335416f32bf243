"""Cancelling the executing node, as ComfyUI's button and its API do."""

_interrupted = False


class InterruptProcessingException(Exception):  # noqa: N818
    pass


def interrupt_current_processing(value: bool = True) -> None:
    global _interrupted
    _interrupted = value


def throw_exception_if_processing_interrupted() -> None:
    global _interrupted
    if _interrupted:
        _interrupted = False
        raise InterruptProcessingException


def unload_all_models() -> None:
    pass
