/** How a use case reports its progress, and how it is told to stop. */
export interface Control {
  /** Called now and then with the number of accounts, or of transaction ids, that are done and the total. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Called at the beginning of each step, with a short description. */
  readonly onStep?: (step: string) => void;
  /**
   * Stops the work at a point where everything is consistent. Throws the signal's reason unless a use case says
   * otherwise.
   */
  readonly signal?: AbortSignal;
}
