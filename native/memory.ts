/** Memory of the whole process. With a C library other than glibc nothing of malloc's is bounded or given back. */
import { loadAddon } from "./loader.ts";

interface MemoryAddon {
  boundMemory(): void;
  trimMemory(): void;
}

/**
 * Bounds what malloc keeps of freed memory, from now on: blocks of 64 KiB and more (buffers of file contents and messages) are mapped each for itself and
 * go back when they are freed, and threads share two arenas instead of having up to eight a core. For a program that is to stay small; call it first.
 */
export function boundMemory(): void {
  (loadAddon() as MemoryAddon).boundMemory();
}

/**
 * Gives back to the system what the process does not need resident: freed memory, from the middle of the heap too, and pages of program and libraries,
 * of which starting touches far more than running does (what is needed again comes back from the page cache). Synchronous, some milliseconds.
 */
export function trimMemory(): void {
  (loadAddon() as MemoryAddon).trimMemory();
}
