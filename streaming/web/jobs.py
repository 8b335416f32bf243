"""Requests about the jobs of a server: list, submit, cancel."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sana_stream.errors import BranchError, JobError, QueueFullError, StoreError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob

from .auth import require_control
from .job_answer import Stream, StreamList
from .pictures import check_picture, parse_field, read_form
from .request_body import is_upload, read_json
from .responses import RETRY_SECONDS, JsonResponse
from .root_path import root_of

_TEXTS = ("prompt", "story", "negative_prompt", "size")  # fields that are no JSON in a form


class JobHandlers:
    """Answers requests about the jobs of a server; they need the role CONTROL."""

    def __init__(self, jobs: JobQueue) -> None:
        self._queue = jobs

    async def list_or_submit(self, request: Request) -> Response:
        """GET: every job, oldest first. POST: add one.

        A job has the fields of a `StreamRequest`, such as `{"prompt": "…", "seconds": 60}`. A form
        may have the same fields, with a picture that the video begins with as the file `image`.
        """
        require_control(request)
        if request.method == "POST":
            return await self._submit(request)
        root = root_of(request)
        found = StreamList([self._shown(job, root) for job in self._queue.jobs()])
        return JsonResponse(found.model_dump())

    async def show_or_cancel(self, request: Request) -> Response:
        """GET: the job with this id. DELETE: cancel it."""
        require_control(request)
        job = self.find(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "no stream has this id")
        if request.method != "DELETE":
            return JsonResponse(self._shown(job, root_of(request)).model_dump())
        if not await run_in_threadpool(self._queue.cancel, job.id):
            raise HTTPException(404, "no stream with this id is queued or running")
        return Response(status_code=204)

    def find(self, stream_id: str) -> StreamJob | None:
        """The job with an id, as it is written in an address."""
        return next((job for job in self._queue.jobs() if str(job.id) == stream_id), None)

    def place(self, job: StreamJob) -> int | None:
        """As `JobQueue.place`."""
        return self._queue.place(job)

    async def _submit(self, request: Request) -> Response:
        fields, picture = await _read_request(request)
        try:
            job = await run_in_threadpool(self._queue.submit, fields, picture=picture)
        except (QueueFullError, StoreError) as error:
            raise HTTPException(503, str(error), {"Retry-After": str(RETRY_SECONDS)}) from error
        except BranchError as error:
            raise HTTPException(409, str(error)) from error
        except JobError as error:
            raise HTTPException(400, str(error)) from error
        root = root_of(request)
        answer = self._shown(job, root).model_dump()
        return JsonResponse(answer, 201, {"Location": f"{root}/streams/{job.id}"})

    def _shown(self, job: StreamJob, root: str) -> Stream:
        return Stream.of(job, self._queue.place(job), root)


async def _read_request(request: Request) -> tuple[object, bytes | None]:
    """The fields of a job, and its picture."""
    if not is_upload(request.headers.get("content-type", "")):
        return await read_json(request), None
    form = await read_form(request)
    if form.files.keys() - {"image"}:
        raise HTTPException(400, "the only file of the form is image")
    fields = {
        name: value if name in _TEXTS else parse_field(value) for name, value in form.fields.items()
    }
    image = form.files.get("image")
    return fields, None if image is None else await check_picture(image)
