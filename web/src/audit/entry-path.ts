export const entryPath = (seq: number): string => `/audit/${seq}`;
