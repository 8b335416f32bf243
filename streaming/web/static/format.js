// Times and sizes as text.

// A time such as 1:05 or 1:02:03.
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (number) => String(number).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

// A size in the unit in which it is at least 1.
export function bytes(count) {
  const mib = count / 2 ** 20;
  if (mib < 1) return `${Math.ceil(mib * 1024)} KiB`;
  return mib < 1024 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}
