"""The machine-readable mark of AI-generated media: what made it, in IPTC's terms and as XMP.

Digital source types: https://cv.iptc.org/newscodes/digitalsourcetype/. Properties: IPTC Photo
Metadata Standard 2025.1 and Video Metadata Hub. Packets: ISO 16684-1 (XMP), 7.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from sana_stream import __version__
from sana_stream._text import xml_text

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SOFTWARE = f"sana-stream {__version__}"
_NAMESPACE = "https://github.com/sana-stream/sana-stream/ns/1.0/"
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" \
xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:sana="{namespace}">
{properties}
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True)
class AiMark:
    """What made a video; an empty text or None leaves a fact out."""

    model: str = ""
    seed: int | None = None
    prompts: str = ""

    def facts(self) -> dict[str, str | int]:
        """The facts that are known, without the prompts, under the keys of the `comment` tag."""
        found = {
            "digital_source_type": DIGITAL_SOURCE_TYPE,
            "software": SOFTWARE,
            "model": self.model or None,
            "seed": self.seed,
        }
        return {name: value for name, value in found.items() if value is not None}

    def line(self) -> str:
        """The facts on one line, for containers with a single short text."""
        named = "" if not self.model else f" model={self.model}"
        seeded = "" if self.seed is None else f" seed={self.seed}"
        return f"{DIGITAL_SOURCE_TYPE} {SOFTWARE}{named}{seeded}"

    def xmp(self) -> bytes:
        """The facts as an XMP packet in UTF-8."""
        properties = {
            "Iptc4xmpExt:DigitalSourceType": DIGITAL_SOURCE_TYPE,
            "Iptc4xmpExt:AISystemUsed": self.model,
            "Iptc4xmpExt:AISystemVersionUsed": SOFTWARE,
            "Iptc4xmpExt:AIPromptInformation": self.prompts,
            "xmp:CreatorTool": SOFTWARE,
            "sana:Seed": "" if self.seed is None else str(self.seed),
        }
        lines = (
            f"<{name}>{escape(xml_text(text))}</{name}>"
            for name, text in properties.items()
            if text
        )
        return _PACKET.format(namespace=_NAMESPACE, properties="\n".join(lines)).encode()
