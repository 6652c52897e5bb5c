// Package wattest assembles modules for tests from the WebAssembly text format (core specification
// 2.0, chapter 6), so that a reader can see what a hostile module does. No binary links it.
//
// It supports the part of the format that the tests use: module fields, folded instructions, flat
// ones without blocks, and (module binary "…"). It checks little, because many tests need invalid
// modules.
//
// Six forms are not in the standard:
//
//	(repeat N x…)    x… N times; in atoms and strings of x, "%" is replaced by the count from 0
//	                 and "%+" by one more; nested repeats use the count of the outermost
//	(nest N (x…) y)  (x… (x… … y)), N deep
//	(locals N T)     in a function: N locals of type T, which take five bytes
//	(section N x…), (sized x…), (u32 N)
//	                 in (module binary …): a section, a length in front, a LEB128 number
//	(times N x…)     in (module binary …): the bytes of x N times, however many
//	(numbered N x y…)
//	                 in (module binary …): x, a LEB128 number and y, for all numbers below N
package wattest
