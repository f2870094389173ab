/** What a node tells, where somebody asks, of containers that do not run: its word alone. */
export interface StoppedTold {
  /** Why nothing is known of them; empty: the node told. */
  readonly problem: string;
  readonly containers: readonly { readonly name: string /** As its runtime names the image: a digest. */; readonly imageId: string }[];
  /** How many there are besides. */
  readonly more: number;
}
