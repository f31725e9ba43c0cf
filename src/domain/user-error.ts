/** A failure that the user can put right. Its message is a sentence for them, shown without a stack. */
export abstract class UserError extends Error {}
