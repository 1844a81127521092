// Package encap changes frames so that they reach a real server or a client: NAT and
// FULLNAT rewriting, tunnel headers (IPIP, GRE, GUE), TTL, and the cutting of frames
// that do not fit their link. It knows headers, checksums, offloads and MTUs; it must
// not know why this server was chosen, nor rings or sockets.
//
// Every function works on a frame that Parse accepted and leaves the frame's offsets
// and flow as a new Parse would find them.
package encap
