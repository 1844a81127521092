// Package host is what the director reads and changes on its host: routes, addresses
// and links followed over rtnetlink (Follow), the guard that keeps the host's own
// stack off balanced frames (Guard), and the policy rules that bring a local real
// server's answers back to the director (Local).
//
// It speaks netlink to the network namespace of the calling thread and nothing else:
// it knows nothing of workers, connections or health. Nothing here is on the path of a
// packet. Whatever it changes carries the director's name, so that what a crashed
// director left behind is recognised and taken away.
package host
