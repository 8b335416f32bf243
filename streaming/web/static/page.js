// Starts the modules of the page. Text from users is never HTML.

import { startComposer } from "./composer.js";
import { startControls } from "./controls.js";
import { startKeyboard } from "./keyboard.js";
import { startPolling } from "./poll.js";
import { startStage } from "./stage.js";
import { startStatusLine } from "./status-line.js";
import { startStory } from "./story.js";
import { startStreams } from "./streams.js";

startStatusLine();
startStage();
startComposer();
startControls();
startStreams();
startStory();
startKeyboard();
startPolling();
