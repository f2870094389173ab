/** An image of a dozen distinct small programs of the machine with their libraries: unlike busybox, each is a file of its own. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** On every Debian; python3 where it is installed. */
const PROGRAMS = ["dash", "dd", "cp", "sed", "perl", "sleep", "touch", "mv", "python3"];
const PYTHON_MODULES = ["*.py", "encodings", "collections", "importlib"];

/** Fills the directory with a root filesystem. @returns names of the programs in /bin */
export function programImage(root: string): string[] {
  for (const name of ["bin", "etc", "w", "tmp", "dev"]) mkdirSync(join(root, name), { recursive: true });
  const programs = PROGRAMS.filter((name) => existsSync(`/usr/bin/${name}`));
  for (const name of programs) {
    const source = realpathSync(`/usr/bin/${name}`);
    copyFileSync(source, join(root, "bin", name));
    for (const [, library = ""] of execFileSync("ldd", [source], { encoding: "utf8" }).matchAll(/(\/\S+) \(/g)) {
      mkdirSync(join(root, dirname(library)), { recursive: true });
      copyFileSync(library, join(root, library));
    }
  }
  copyFileSync(join(root, "bin/dash"), join(root, "bin/sh"));
  if (programs.includes("python3")) copyPython(root);
  writeFileSync(join(root, "bin/script"), '#!/bin/dash\necho x >> "$1"\n', { mode: 0o755 });
  writeFileSync(join(root, "etc/conf"), "aaa\n");
  return programs;
}

function copyPython(root: string): void {
  const library = execFileSync("/usr/bin/python3", ["-c", "import os; print(os.path.dirname(os.__file__))"], { encoding: "utf8" }).trim();
  mkdirSync(join(root, library), { recursive: true });
  execFileSync("sh", ["-c", `cp -aL ${PYTHON_MODULES.map((name) => `${library}/${name}`).join(" ")} ${root}${library}`]);
}
