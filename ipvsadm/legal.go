package ipvsadm

import "github.com/dirigo-lb/dirigo/conf"

// rule says which options a command, or a tunnel type, goes with. What is in none of
// the sets is illegal.
type rule struct {
	need optionSet
	may  optionSet
	one  optionSet // at most one of these
}

var (
	serviceOptions = set(optScheduler, optPersistent, optNetmask, optOnePacket, optEngine, optSchedFlags)
	tunnelOptions  = set(optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum)
	serverOptions  = set(optForward, optWeight, optUpper, optLower) | tunnelOptions
)

// legal is ipvsadm(8)'s synopsis as data. --syncid with -L is allowed and means
// nothing, as in ipvsadm 1.31.
var legal = [numOps]rule{
	OpList: {
		one: set(optConnection, optService, optTimeout, optDaemon),
		may: set(optNumeric, optStats, optRate, optThresholds, optPersistentConn, optNoSort, optSyncID, optExact, optTunInfo),
	},
	OpAddService:    {need: set(optService), may: serviceOptions},
	OpEditService:   {need: set(optService), may: serviceOptions},
	OpDeleteService: {need: set(optService)},
	OpFlush:         {},
	OpAddServer:     {need: set(optService, optServer), may: serverOptions},
	OpDeleteServer:  {need: set(optService, optServer)},
	OpEditServer:    {need: set(optService, optServer), may: serverOptions},
	OpSet:           {},
	OpStartDaemon:   {may: set(optMcastInterface, optSyncID, optMcastGroup, optMcastPort, optMcastTTL, optSyncMaxLen)},
	OpStopDaemon:    {may: set(optSyncID)},
	OpRestore:       {},
	OpSave:          {may: set(optNumeric)},
	OpZero:          {may: set(optService)},
}

// tunnelNames are the words of --tun-type, by conf.TunType.
var tunnelNames = [...]string{conf.TunIPIP: "ipip", conf.TunGUE: "gue", conf.TunGRE: "gre"}

// legalTunnel says which tunnel options a tunnel type goes with.
var legalTunnel = [...]rule{
	conf.TunIPIP: {},
	conf.TunGUE:  {need: set(optTunPort), one: set(optTunNoCsum, optTunCsum, optTunRemCsum)},
	conf.TunGRE:  {one: set(optTunNoCsum, optTunCsum)},
}

// check compares the options of scope that were given with the rule, in the order of
// options; the first mistake is reported. what ends the messages: "command" or "tunnel type".
func (r rule) check(given, scope optionSet, name, what string) *Error {
	last := optNone
	for o := range numOptions {
		switch {
		case !scope.has(o):
		case !given.has(o):
			if r.need.has(o) {
				return bad("You need to supply the '%v' option for the '%s' %s", o, name, what)
			}
		case r.one.has(o):
			if last != optNone {
				return bad("The option '%v' conflicts with the '%v' option in the '%s' %s", o, last, name, what)
			}
			last = o
		case !r.need.has(o) && !r.may.has(o):
			return bad("Illegal '%v' option with the '%s' %s", o, name, what)
		}
	}
	return nil
}

// checkCommand holds the options against the table of commands.
func checkCommand(op Op, given optionSet) *Error {
	return legal[op].check(given, 1<<numOptions-1, op.String(), "command")
}

// checkTunnel holds the tunnel options against the table of tunnel types.
func checkTunnel(t conf.TunType, given optionSet) *Error {
	return legalTunnel[t].check(given, tunnelOptions&^set(optTunType), tunnelNames[t], "tunnel type")
}

// checkList refuses formats that the chosen table does not have.
func checkList(given optionSet) *Error {
	tables := given & set(optConnection, optTimeout, optDaemon)
	counters := given & set(optStats, optRate, optThresholds)
	if tables != 0 && counters != 0 ||
		tables&^set(optConnection) != 0 && given.has(optPersistentConn) {
		return bad("options conflicts in the list command")
	}
	return nil
}
