// Starts the modules of the page. Text from users is never HTML.

import { startComposer } from "./composer.js";
import { startControls } from "./controls.js";
import { startGallery } from "./gallery.js";
import { startKeyboard } from "./keyboard.js";
import { startPicture } from "./picture.js";
import { startPolling } from "./poll.js";
import { startRing } from "./ring.js";
import { startScreenSize } from "./screen-size.js";
import { startSettings } from "./settings.js";
import { startShare } from "./share.js";
import { startSound } from "./sound.js";
import { startStage } from "./stage.js";
import { startStart } from "./start.js";
import { startStatusLine } from "./status-line.js";
import { startStreams } from "./streams.js";
import { startStrip } from "./strip.js";
import { startWall } from "./wall.js";
import { startWords } from "./words.js";

startStatusLine();
startStage();
startSound();
startScreenSize();
startRing();
startComposer();
startControls();
startSettings();
startStreams();
startStrip();
startWords();
startPicture();
startStart();
startWall();
startGallery();
startShare();
startKeyboard();
startPolling();
