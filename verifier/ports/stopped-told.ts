/** What a node tells, where somebody asks, of containers that do not run: its word alone. */
export interface StoppedTold {
  /** Why nothing is known of them; empty: the node told. */
  readonly problem: string;
  readonly containers: readonly StoppedContainer[];
  /** How many there are besides. */
  readonly more: number;
}

export interface StoppedContainer {
  readonly name: string;
  /** Of which known image it is: of several, where its runtime names an index. Empty: nobody can say on what it stands. */
  readonly configDigests: readonly string[];
}
