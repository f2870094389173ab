/** Exit codes of every command that judges: 0 clean, 1 drift or a bad verdict, 2 wrong usage or configuration, 3 cannot tell. */
export const EXIT = { clean: 0, drift: 1, usage: 2, unknown: 3 } as const;
