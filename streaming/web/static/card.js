// Small cards over the time strip.

const MARGIN = 8; // pixels

// Show a card above or below a point of the window, inside it.
export function placeCard(card, x, top, bottom) {
  card.showPopover();
  const { width, height } = card.getBoundingClientRect();
  const left = Math.min(Math.max(MARGIN, x - width / 2), innerWidth - width - MARGIN);
  const above = top - height - MARGIN;
  card.style.left = `${left}px`;
  card.style.top = `${above > MARGIN ? above : Math.min(bottom + MARGIN, innerHeight - height - MARGIN)}px`;
}
