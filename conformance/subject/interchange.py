"""This module exports the headed model to ONNX, has the file checked, and runs it by onnxruntime, on real numbers.

It needs the packages of the extra `[onnx]`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from conformance.subject.capturing import capturing
from conformance.subject.passes import form, tensors_of
from conformance.subject.real import RealPass, RealSubject

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What the extra `[onnx]` installs."""


def by_onnxruntime(subject: RealSubject) -> RealPass:
    """What onnxruntime gives for the images, of the model that `torch.onnx.export(…, dynamo=True)` wrote to a file.

    Raises:
        NotCaptured: it cannot be exported.
        onnx.checker.ValidationError: the file is not valid ONNX, or its shapes contradict one another.
        Exception: onnxruntime refuses the file.
    """
    # Imported late, and here alone: they are extras.
    import onnx
    import onnxruntime

    model, images = subject.another(), subject.images
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "model.onnx")
        with capturing():
            try:
                program = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
            except torch.onnx.OnnxExporterError as error:
                # It is a page on how to report it; what went wrong is its cause.
                raise error.__cause__ or error from error
            assert program is not None
            # Weights beside it: a file of ONNX holds 2 GB at most.
            program.save(file, external_data=True)
        del program, model
        onnx.checker.check_model(str(file), full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        given = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    output = [torch.from_numpy(array) for array in given]

    def again(_shaking: bool) -> tuple[list[torch.Tensor], torch.dtype]:
        return output, torch.float32

    given_back = _like(subject.forward.output, output)
    return RealPass(given_back, None, (), again=again, as_given=output, form=form(given_back))


def _like(original: object, output: list[torch.Tensor]) -> object:
    """The tensors as one where the model gives one: ONNX has no containers."""
    return output[0] if isinstance(original, torch.Tensor) and len(output) == 1 else output


def tensors_as_list(subject: RealSubject) -> RealPass:
    """`model(images)` as onnxruntime gives it: one tensor, or a list of tensors."""
    taken = subject.forward
    assert isinstance(taken, RealPass)
    listed = _like(taken.output, tensors_of(taken.output))
    return RealPass(listed, None, taken.unprovable, again=taken.again, as_given=taken.as_given, form=form(listed))
