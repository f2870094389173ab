/**
 * Paths that programs load code from, or that say who may come in, whatever the file's mode is. What was learned never covers them: an interpreter asks for no execute bit. Pure.
 */

/** Endings of scripts, modules, libraries and archives of code; of a library also with its version (`libx.so.1.2`). */
const CODE_ENDINGS = new Set(
  [
    "so a o ko la dll dylib exe com bat cmd ps1 psm1 vbs node wasm",
    "py pyc pyo pyd pyw pyz pyx pth egg whl",
    "js mjs cjs ts mts cts jsx tsx vue svelte",
    "rb rbw erb rake ru gemspec gem pl pm pod cgi fcgi php php3 php4 php5 php7 php8 phps phtml phar inc tpl twig blade",
    "jsp jspx jspf jar war ear class java groovy gradle kts kt scala clj cljs cljc bsh asp aspx ashx asmx cs csx fsx",
    "sh bash zsh ksh csh fish dash awk sed tcl lua luac r rdata rds jl ex exs beam erl hs go rs el elc vim scm rkt nim pkl pickle joblib",
    "service timer desktop htaccess lds spec sql ipynb xsl xslt j2 ejs hbs mustache pug",
  ].flatMap((line) => line.split(" ")),
);
const VERSIONED_LIBRARY = /\.so(\.[0-9]+)+$/;
/** Below these only programs, libraries and what starts or admits people lie. */
const CODE_ROOTS =
  /^\/(bin|sbin|boot|dev|proc|sys|root|lib[0-9a-z]*|usr\/(bin|sbin|lib[0-9a-z]*|libexec|src|include)|usr\/local\/(bin|sbin|lib[0-9a-z]*|libexec))(\/|$)/;
/** Of what lies in one of these, wherever it is, some program takes code, commands, keys or names of people. */
const CODE_DIRECTORIES = new Set(
  [
    "bin sbin lib lib32 lib64 libexec cgi-bin node_modules site-packages dist-packages __pycache__ vendor gems bundle plugins plugin modules module extensions autoload",
    "hooks init.d rc.d profile.d sudoers.d pam.d ld.so.conf.d ssh sshd_config.d ssh_config.d security apt yum.repos.d pki ssl ca-certificates systemd xinetd.d udev modprobe.d",
    "modules-load.d crontabs cron cron.d cron.hourly cron.daily cron.weekly cron.monthly logrotate.d alternatives polkit-1 binfmt.d sysctl.d tmpfiles.d webapps",
    ".ssh .gnupg .git .svn .hg .docker .kube .aws .config .local .npm .cargo .m2 .gradle",
  ].flatMap((line) => line.split(" ")),
);
const CODE_NAMES = new Set(
  [
    "passwd passwd- shadow shadow- group group- gshadow gshadow- sudoers subuid subgid crontab anacrontab at.allow at.deny cron.allow cron.deny",
    "ld.so.preload ld.so.conf ld.so.cache ld-nix.so.preload nsswitch.conf hosts.allow hosts.deny hosts.equiv inittab rc.local profile bash.bashrc bashrc environment login.defs securetty shells fstab",
    "authorized_keys authorized_keys2 known_hosts id_rsa id_ed25519 id_ecdsa makefile dockerfile jenkinsfile rakefile gemfile package.json composer.json tsconfig.json php.ini docker.json daemon.json",
    ".bashrc .bash_profile .bash_login .bash_logout .profile .zshrc .zprofile .zshenv .login .cshrc .rhosts .shosts .netrc .npmrc .yarnrc .pypirc .pythonrc .gitconfig .vimrc .exrc .inputrc .forward .my.cnf .pgpass .psqlrc .htaccess .user.ini .env",
  ].flatMap((line) => line.split(" ")),
);

/** Where programs look for what they are told to do, whatever a file there is called: many take all of `conf.d/*.conf`. */
const CONFIGURATION_DIRECTORY = /^(etc|conf|config|cfg|settings)$|\.d$/;
const CONFIGURATION_ENDING = /\.(conf|cfg|cnf|ini|toml|properties)$/;

/** Whether what lies there is configuration, by its directories or its last ending. @param path as of {@link isCodePath} */
export function isConfigurationPath(path: Uint8Array): boolean {
  const parts = Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1").toLowerCase().split("/");
  return CONFIGURATION_ENDING.test(parts.at(-1) ?? "") || parts.slice(0, -1).some((part) => CONFIGURATION_DIRECTORY.test(part));
}

/** @param path raw bytes with the leading slash; a workload chooses it */
export function isCodePath(path: Uint8Array): boolean {
  const text = Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1").toLowerCase();
  if (CODE_ROOTS.test(text)) return true;
  // Where data lies by the Filesystem Hierarchy Standard, for all its name.
  const parts = text
    .replace(/^\/var\/lib\//, "/")
    .split("/")
    .slice(1);
  const name = parts.at(-1) ?? "";
  if (parts.slice(0, -1).some((part) => CODE_DIRECTORIES.has(part))) return true;
  if (CODE_NAMES.has(name) || CODE_DIRECTORIES.has(name) || VERSIONED_LIBRARY.test(name)) return true;
  // Any of its endings: interpreters and web servers also take `x.php.bak`, and `x.py~` is one rename away.
  return name
    .split(".")
    .slice(1)
    .some((ending) => CODE_ENDINGS.has(ending.replace(/[~#]+$/, "")));
}
