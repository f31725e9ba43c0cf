const DIRECTION_CHANGES = 'must not contain characters that change the direction of text';

/** Such characters can make an amount or a name look like another one. */
export function directionProblem(text: string): string | undefined {
  return /\p{Bidi_Control}/u.test(text) ? DIRECTION_CHANGES : undefined;
}

/** Why a text for people can't be accepted as one line of at most so many characters; undefined: it can. */
export function lineProblemOf(maxLength: number): (text: string) => string | undefined {
  const line = new RegExp(`^[^\\p{Cc}\\p{Cs}]{1,${maxLength}}$`, 'u');
  const length = `must be a string of 1 to ${maxLength} characters, without control characters`;
  return (text) => (line.test(text) ? directionProblem(text) : length);
}
