"""Direct a live stream over a WebSocket, and save what it sends.

    sana-stream serve                            in another terminal
    python examples/realtime_client.py live.mp4

Needs the package `websockets`, which sana-stream installs.
"""

import json
import sys

from websockets.sync.client import connect


def main(argv: list[str] | None = None) -> None:
    path, url = [*(argv or sys.argv[1:]), "ws://127.0.0.1:8765/v1/realtime/video"][:2]
    start = {"type": "session.start", "prompt": "a red boat on the sea at noon"}
    event = {"event_id": "night", "event": {"prompt": "a red boat on the sea at night"}}
    change = {"type": "session.interaction", "interaction": {**event, "transition_chunks": 3}}
    with connect(url, max_size=None) as server, open(path, "wb") as video:
        server.send(json.dumps(start))
        for message in server:
            if isinstance(message, bytes):  # the chunk that the last message describes
                video.write(message)
                continue
            fields = json.loads(message)
            print(message if fields["type"] == "error" else fields["type"])
            if fields["type"] == "video.chunk_metadata":
                print(f"  block {fields['generation_chunk_index']}, {fields['num_frames']} frames")
                if fields["transport_chunk_index"] == 1:
                    server.send(json.dumps(change))
                for state in ("started", "active", "completed"):
                    print(f"  {state}: {fields[f'{state}_event_ids']}")
                if "night" in fields["completed_event_ids"]:
                    server.send(json.dumps({"type": "session.stop"}))


if __name__ == "__main__":
    main()
