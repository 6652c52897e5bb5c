import { handle, Reply } from "../assembly";
export * from "../assembly/entries";

handle("hello", r => Reply.text(200, "hello " + r.user));
