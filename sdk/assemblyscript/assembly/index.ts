// Plugins for Bulkhead in AssemblyScript: see README.md.

export { Fault, Origin, Pair, RawRequest, Reply, Start, bytesOf, textOf } from "./abi";
export { call, streamOf } from "./call";
export { azure, exec, helm } from "./capabilities";
export { handle, handleSession, onStart } from "./guest";
export { JSON, Value } from "./json";
export { kube } from "./kube";
export { Request, escape } from "./request";
export { Message, Session, Status } from "./session";
export { log, now, random } from "./system";
