/** The native reader behind the agent's port. */
import { readFileBelow } from "@hullmark/native";
import { type ContentReader, ContentReaderError, type ContentReaderErrorCode } from "../../ports/content-reader.ts";

const CODES: Readonly<Record<string, ContentReaderErrorCode>> = {
  TOO_LARGE: "TOO_LARGE",
  OTHER_NAMES: "OTHER_NAMES",
  NOT_A_FILE: "CHANGED",
  UNSTABLE: "CHANGED",
  // A directory of the path is gone, or was replaced by a link, a file or a mount.
  ...{ ENOENT: "CHANGED", ENOTDIR: "CHANGED", ELOOP: "CHANGED", EXDEV: "CHANGED" },
};

export const nativeContent: ContentReader = {
  read: (root, path, maxBytes) => readFileBelow(root, path, maxBytes).catch(refused),
  readAsItIs: (root, path, maxBytes) => readFileBelow(root, path, maxBytes, true).catch(refused),
};

function refused(error: unknown): never {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  throw new ContentReaderError(CODES[code] ?? "UNREADABLE", message, { cause: error });
}
