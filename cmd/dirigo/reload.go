package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the running director read its file again",
		Long: `Make the running director read its configuration file again and take it over as a whole.
With a mistake in the file, or a change that needs a restart, nothing is changed and the
exit status is 1. Connections of what did not change are not touched.

What commands changed since the file was last read stays. Where the file now says something
else of the same thing, the conflict is told and the command's state is kept; --discard
gives up all that commands changed instead.`,
		Example: "  dirigo reload\n  dirigo reload --discard",
		Args:    cobra.NoArgs,
	}
	socket := controlFlag(cmd)
	discard := cmd.Flags().Bool("discard", false, "give up what commands changed: the file's state replaces it")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		path := "/v1/reload"
		if *discard {
			path += "?discard"
		}
		var result api.ReloadReply
		if err := api.NewClient(*socket).Post(path, nil, &result); err != nil {
			return err
		}
		if len(result.Changes) == 0 {
			fmt.Fprintln(c.OutOrStdout(), "nothing has changed")
		}
		for _, ch := range result.Changes {
			fmt.Fprintln(c.OutOrStdout(), ch)
		}
		for _, conflict := range result.Conflicts {
			fmt.Fprintln(c.OutOrStdout(), "conflict:", conflict)
		}
		return nil
	}
	return cmd
}
