/** The project is compiled without a browser's types, of which the generated client uses this one. */
type BodyInit = NonNullable<RequestInit['body']>;
