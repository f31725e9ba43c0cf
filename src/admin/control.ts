/** How a use case shows how far it is, and how it is told to stop. */
export interface Control {
  /** Called now and then with what is done and what there is to do: accounts, or ids of transactions. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Called at the beginning of each step, with a few words about it. */
  readonly onStep?: (step: string) => void;
  /** Stops the work where it leaves things in order. Unless a use case says otherwise, it throws the signal's reason. */
  readonly signal?: AbortSignal;
}
