package lab

import "fmt"

// Link is one end of a cable: a namespace and the interface's name there.
type Link struct {
	NS  *NS
	Dev string
}

// Veth lays a cable between two namespaces, up at both ends, with so many queues in
// each direction.
func Veth(a, b Link, queues int) {
	a.NS.t.Helper()
	q := fmt.Sprintf("numtxqueues %d numrxqueues %d", queues, queues)
	a.NS.IP(fmt.Sprintf("link add name %s %s type veth peer name %s %s netns %s", a.Dev, q, b.Dev, q, b.NS.Name),
		"link set "+a.Dev+" up")
	b.NS.IP("link set " + b.Dev + " up")
}

// Bridge makes a bridge, which carries frames at once and floods multicast. Firewalls do
// not see them pass, even if the host's kernel has br_netfilter: a switch has none.
func (n *NS) Bridge(dev string) {
	n.t.Helper()
	for _, s := range []string{"arp", "ip", "ip6"} {
		if key := "bridge/bridge-nf-call-" + s + "tables"; n.hasSysctl(key) {
			n.Sysctl(key, "0")
		}
	}
	n.IP("link add name "+dev+" type bridge forward_delay 0 mcast_snooping 0", "link set "+dev+" up")
}

// Plug lays a cable from an interface to a bridge.
func (n *NS) Plug(bridge string, to Link, queues int) {
	n.t.Helper()
	port := fmt.Sprintf("p%d", serial.Add(1))
	Veth(to, Link{n, port}, queues)
	n.IP("link set " + port + " master " + bridge)
}

// Offloads turns checksum and segmentation offloads of an interface on or off.
func (n *NS) Offloads(dev string, on bool) {
	n.t.Helper()
	s := "off"
	if on {
		s = "on"
	}
	n.Must("ethtool", "-K", dev, "tx", s, "gso", s, "tso", s, "gro", s)
}
