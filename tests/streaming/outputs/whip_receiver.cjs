// A WHIP endpoint on npm's werift. Prints one JSON object a line: its port, then each event.
"use strict";
const http = require("node:http");
const { RTCPeerConnection, RTCRtpCodecParameters } = require("werift");

const codecs = {
  audio: [new RTCRtpCodecParameters({ mimeType: "audio/opus", clockRate: 48000, channels: 2 })],
  video: [new RTCRtpCodecParameters({ mimeType: "video/H264", clockRate: 90000 })],
};
const sessions = new Map();
const print = (event) => process.stdout.write(JSON.stringify(event) + "\n");

async function answer(offer) {
  const peer = new RTCPeerConnection({ codecs });
  peer.onTrack.subscribe((track) =>
    track.onReceiveRtp.subscribe(({ header, payload }) =>
      print({
        event: "rtp",
        kind: track.kind,
        time: header.timestamp,
        marker: header.marker,
        unit: payload[0] & 31,
      }),
    ),
  );
  await peer.setRemoteDescription({ type: "offer", sdp: offer });
  await peer.setLocalDescription(await peer.createAnswer());
  const path = `/session/${sessions.size + 1}`;
  sessions.set(path, peer);
  return [path, peer.localDescription.sdp];
}

http
  .createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", async () => {
      const { method, url, headers } = request;
      print({ event: method, path: url, authorization: headers.authorization ?? null });
      if (method === "DELETE") {
        await sessions.get(url)?.close();
        response.writeHead(200).end();
        return;
      }
      const [location, sdp] = await answer(body);
      response.writeHead(201, { "content-type": "application/sdp", location }).end(sdp);
    });
  })
  .listen(Number(process.argv[2] ?? 0), "127.0.0.1", function () {
    print({ event: "listening", port: this.address().port });
  });
