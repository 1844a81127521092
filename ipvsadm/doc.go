// Package ipvsadm is the language of ipvsadm(8) version 1.31: command lines and
// restore lines become typed commands, the state of a director becomes listings and
// rules, and every refusal has the text, the stream and the exit code that scripts
// written for ipvsadm expect. It knows words and layout; it must not know how the
// state is kept, and it opens no socket.
package ipvsadm
