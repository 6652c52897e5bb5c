// What the compiler calls where a program fails (see build.sh):
// the host's log gets the text, and the request ends.

// @ts-ignore: decorator
@external("bulkhead:log/v1", "write")
declare function hostWrite(level: i32, at: usize, n: u32): void;

export function bulkheadAbort(message: string | null, file: string | null, line: u32, column: u32): void {
  let text = message !== null ? message : "aborted";
  if (file !== null) text += " in " + file + ":" + line.toString() + ":" + column.toString();
  const bytes = String.UTF8.encode(text);
  hostWrite(8, changetype<usize>(bytes), min(bytes.byteLength, 8 << 10));
  unreachable();
}
