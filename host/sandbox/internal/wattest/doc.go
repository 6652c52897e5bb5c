// Package wattest assembles modules for tests from the WebAssembly text format
// (core specification 2.0, chapter 6), so that a reader can see what a hostile
// module does. It is in no binary.
//
// It takes the part of the format that the tests use: module fields, folded
// instructions, flat ones without blocks, and (module binary "…"). It checks
// little: a module that is wrong is what many tests are about.
//
// Six forms are not in the standard:
//
//	(repeat N x…)    x… N times; in atoms and strings of x, "%" stands for the count from 0 and
//	                 "%+" for one more; where repeats are nested, that of the outermost
//	(nest N (x…) y)  (x… (x… … y)), N deep
//	(locals N T)     in a function: N locals of type T, which take five bytes
//	(section N x…), (sized x…), (u32 N)
//	                 in (module binary …): a section, a length in front, a LEB128 number
//	(times N x…)     in (module binary …): the bytes of x N times, however many
//	(numbered N x y…)
//	                 in (module binary …): x, a LEB128 number and y, for all numbers below N
package wattest
