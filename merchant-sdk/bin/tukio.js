#!/usr/bin/env node
// A file of the checkout, because npm links no command whose file is absent, and `dist` is built after the links are made.
import "../dist/command/main.js";
