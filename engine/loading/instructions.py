"""The instruction texts before a prompt, with which the models were trained.

Another wording gives other embeddings.
"""

from __future__ import annotations

VIDEO_INSTRUCTION: tuple[str, ...] = (
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed "
        "visual descriptions suitable for video generation. Evaluate the level of "
        "detail in the user prompt:"
    ),
    (
        "- If the prompt is simple, focus on adding specifics about colors, shapes, "
        "sizes, textures, motion, and temporal relationships to create vivid and "
        "dynamic scenes."
    ),
    (
        "- If the prompt is already detailed, refine and enhance the existing details "
        "slightly without overcomplicating."
    ),
    "Here are examples of how to transform or refine prompts:",
    (
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat slowly "
        "settling into a curled position, peacefully falling asleep on a warm sunny "
        "windowsill, with gentle sunlight filtering through surrounding pots of "
        "blooming red flowers."
    ),
    (
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at"
        " dusk, featuring glowing street lamps gradually lighting up, a diverse crowd "
        "of people in colorful clothing walking past, and a double-decker bus smoothly "
        "passing by towering glass skyscrapers."
    ),
    (
        "Please generate only the enhanced description for the prompt below and avoid "
        "including any additional commentary or evaluations:"
    ),
    "User Prompt: ",
)
"""The video wording, of diffusers' SanaVideoPipeline."""

AUTHORS_INSTRUCTION: tuple[str, ...] = (
    (
        'Given a user prompt, generate an "Enhanced prompt" that provides detailed '
        "visual descriptions suitable for image generation. Evaluate the level of "
        "detail in the user prompt:"
    ),
    (
        "- If the prompt is simple, focus on adding specifics about colors, shapes, "
        "sizes, textures, and spatial relationships to create vivid and concrete "
        "scenes."
    ),
    (
        "- If the prompt is already detailed, refine and enhance the existing details "
        "slightly without overcomplicating."
    ),
    "Here are examples of how to transform or refine prompts:",
    (
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up"
        " in a round shape, sleeping peacefully on a warm sunny windowsill, surrounded "
        "by pots of blooming red flowers."
    ),
    (
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at"
        " dusk, featuring glowing street lamps, a diverse crowd of people in colorful "
        "clothing, and a double-decker bus passing by towering glass skyscrapers."
    ),
    (
        "Please generate only the enhanced description for the prompt below and avoid "
        "including any additional commentary or evaluations:"
    ),
    "User Prompt: ",
)
"""The image wording, in every training configuration of the authors (configs/sana_video_config)."""

NEGATIVE_PROMPT = (
    "A chaotic sequence with misshapen, deformed limbs in heavy motion blur, sudden "
    "disappearance, jump cuts, jerky movements, rapid shot changes, frames out of sync, "
    "inconsistent character shapes, temporal artifacts, jitter, and ghosting effects, creating a "
    "disorienting visual experience."
)
"""The negative prompt that the authors of the 50-step models use."""
