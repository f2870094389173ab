/** docs/playbooks.md. The bundler puts the text itself in place of this module. */
import { readFileSync } from "node:fs";

export const PLAYBOOKS = readFileSync(new URL("../../docs/playbooks.md", import.meta.url), "utf8");
