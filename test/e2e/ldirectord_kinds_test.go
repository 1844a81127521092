package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/dirigo-lb/dirigo/test/lab"
)

// kinds has every kind of service ldirectord can make. Nothing is checked, so all is up.
const kinds = `quiescent = no
cleanstop = CLEANSTOP
virtual = VIP:80
	real = SERVER1:80 gate WEIGHT
	checktype = on
	scheduler = sh
	schedflags = sh-port
	persistent = 600
	netmask = 255.255.255.0
	protocol = tcp
virtual = VIP:443
	real = SERVER1:8443 masq WEIGHT l:5 u:10
	checktype = on
	scheduler = wlc
	persistent = 60
	protocol = tcp
virtual = VIP:53
	real = SERVER1:53 ipip WEIGHT
	checktype = on
	scheduler = rr
	ops = yes
	protocol = udp
virtual = 7
	real = SERVER1 gate WEIGHT
	checktype = on
	scheduler = wrr
	protocol = fwm
virtual6 = [fd00:10:9::100]:80
	real6 = [fd00:10:9::11]:8080 masq WEIGHT
	checktype = on
	scheduler = wrr
	protocol = tcp
virtual6 = 8
	real6 = [fd00:10:9::11] gate WEIGHT
	checktype = on
	scheduler = wrr
	persistent = 60
	protocol = fwm
`

// kindsListed is what they are for ipvsadm -Sn.
const kindsListed = `-A -t VIP:80 -s sh -p 600 -M 255.255.255.0 -b sh-port
-a -t VIP:80 -r SERVER1:80 -g -w WEIGHT
-A -t VIP:443 -s wlc -p 60
-a -t VIP:443 -r SERVER1:8443 -m -w WEIGHT
-A -u VIP:53 -s rr -o
-a -u VIP:53 -r SERVER1:53 -i -w WEIGHT --tun-type ipip
-A -t [fd00:10:9::100]:80 -s wrr
-a -t [fd00:10:9::100]:80 -r [fd00:10:9::11]:8080 -m -w WEIGHT
-A -f 7 -s wrr
-a -f 7 -r SERVER1:0 -g -w WEIGHT
-A -f 8 -6 -s wrr -p 60
-a -f 8 -6 -r [fd00:10:9::11]:0 -g -w WEIGHT
`

// ldirectord has to find in the listings what it made: what it does not find it adds
// again, and is refused, which stop looks for.
func TestLdirectordFindsItsServices(t *testing.T) {
	c := newCluster(t, shape{method: "nat", arms: 2, servers: 1, plain: true})
	d := startDirector(t, c.director, c.config(1, ""))
	fill := func(text, weight, cleanstop string) string {
		return c.fill(strings.NewReplacer("WEIGHT", weight, "CLEANSTOP", cleanstop).Replace(text))
	}
	l := startLdirectord(d, c, fill(kinds, "3", "no"))
	listed := func(what, weight string) {
		t.Helper()
		want := fill(kindsListed, weight, "")
		lab.Until(t, noticed, func() (bool, string) {
			got := l.sh.must("ipvsadm -Sn")
			return got == want, what + ": saved\n" + got + "want\n" + want
		})
		if got := l.sh.must("ipvsadm -Ln --thresholds"); !strings.Contains(strings.Join(strings.Fields(got), " "), c.fill("SERVER1:8443 10 5 0 0")) {
			t.Errorf("%s: thresholds:\n%s", what, got)
		}
	}
	listed("started", "3")
	l.write(fill(kinds, "4", "no"))
	l.Signal(syscall.SIGHUP)
	listed("SIGHUP", "4")
	l.stop()
	l.write(fill(kinds, "5", "yes"))
	l.start()
	listed("another one", "5")
	l.stop()
	if got := l.sh.must("ipvsadm -Sn"); got != "" {
		t.Errorf("after its end, with cleanstop: saved\n%s", got)
	}
	d.stop()
}
