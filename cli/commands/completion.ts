/** `hullmark completion bash|zsh|fish`: written from the commands themselves, so that it cannot fall behind. */
import { Argument, Command } from "commander";

interface Words {
  /** `hullmark drift` → its words. */
  readonly path: string;
  readonly words: readonly string[];
}

function collect(command: Command, path: string): Words[] {
  const names = command.commands.map((child) => child.name());
  const flags = command.options.flatMap(({ short, long }) => [short, long]).filter((flag): flag is string => !!flag);
  return [{ path, words: [...names, ...flags, "--help"] }, ...command.commands.flatMap((child) => collect(child, `${path} ${child.name()}`))];
}

function bash(all: readonly Words[]): string {
  const cases = all.map(({ path, words }) => `    "${path}") words="${words.join(" ")}" ;;`).join("\n");
  const known = all.map(({ path }) => `"${path}"`).join("|");
  return `# eval "$(hullmark completion bash)"
_hullmark() {
  local path="hullmark" word words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    # What is no command is an argument, or the value of an option.
    case "$path $word" in
      ${known}) path="$path $word" ;;
    esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _hullmark hullmark
`;
}

function zsh(all: readonly Words[]): string {
  return `# eval "$(hullmark completion zsh)"\nautoload -U +X bashcompinit && bashcompinit\n${bash(all)}`;
}

function fish(all: readonly Words[]): string {
  const lines = all.flatMap(({ path, words }) => {
    const parts = path.split(" ").slice(1);
    const condition = parts.length === 0 ? "__fish_use_subcommand" : `__fish_seen_subcommand_from ${parts.at(-1)}`;
    return words.filter((word) => !word.startsWith("-")).map((word) => `complete -c hullmark -n "${condition}" -f -a "${word}"`);
  });
  return `# hullmark completion fish | source\n${lines.join("\n")}\n`;
}

export function completionCommand(root: Command): Command {
  return new Command("completion")
    .description("completion script for a shell")
    .addArgument(new Argument("<shell>").choices(["bash", "zsh", "fish"]))
    .action((shell: "bash" | "zsh" | "fish") => {
      const all = collect(root, "hullmark");
      process.stdout.write({ bash, zsh, fish }[shell](all));
    });
}
