// Package ipvsadm is ipvsadm(8) version 1.31: command lines and restore lines become
// typed commands, which a director carries out; the state of a director becomes
// listings and rules, and every refusal has the text, the stream and the exit code that
// scripts written for ipvsadm expect. It knows words and layout; it must not know where the
// director is or how it keeps its state. It opens no socket but to ask for names.
package ipvsadm
