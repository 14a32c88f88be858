// SPDX-License-Identifier: Apache-2.0

// Package scenario is what the Go suites share: scenarios by name, one line of result each, a broker restart on request.
// The lines are those of ../../python/scenarios.py.
package scenario

import (
	"bufio"
	"context"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"time"
)

const limit = 90 * time.Second

type Scenario struct {
	Name string
	Run  func(ctx context.Context, address string)
}

type failure string

// Check ends the scenario when the condition does not hold.
func Check(ok bool, format string, arguments ...any) {
	if !ok {
		panic(failure(fmt.Sprintf(format, arguments...)))
	}
}

// OK ends the scenario when there is an error.
func OK(err error, what string) {
	Check(err == nil, "%s: %v", what, err)
}

// Fresh makes a name that nothing else has.
func Fresh(name string) string {
	return fmt.Sprintf("%s-%010x", name, rand.Int63n(1<<40))
}

// WaitFor polls a condition until the scenario's time is over.
func WaitFor(ctx context.Context, what string, condition func() bool) {
	WaitForEvery(ctx, 10*time.Millisecond, what, condition)
}

// WaitForEvery polls a condition that costs the broker something, with a period of its own.
func WaitForEvery(ctx context.Context, period time.Duration, what string, condition func() bool) {
	for !condition() {
		Check(ctx.Err() == nil, "never: %s", what)
		time.Sleep(period)
	}
}

var input = bufio.NewReader(os.Stdin)

// RestartBroker has the runner restart the broker and returns when that is done.
func RestartBroker() {
	fmt.Println("restart")
	line, err := input.ReadString('\n')
	Check(err == nil && strings.TrimSpace(line) == "restarted", "the runner did not restart the broker")
}

func run(s Scenario, address string) (reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan string, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Sprint(p)
			}
		}()
		s.Run(ctx, address)
		done <- ""
	}()
	select {
	case reason = <-done:
	case <-time.After(limit + 5*time.Second):
		reason = fmt.Sprintf("took longer than %v", limit)
	}
	return reason
}

// Main runs the scenarios that the command line names, or all.
func Main(scenarios ...Scenario) {
	failed := false
	for _, s := range scenarios {
		if len(os.Args) > 2 && !slices.Contains(os.Args[2:], s.Name) {
			continue
		}
		if reason := run(s, os.Args[1]); reason != "" {
			failed = true
			fmt.Printf("failed %s: %.400s\n", s.Name, strings.Join(strings.Fields(reason), " "))
		} else {
			fmt.Printf("ok %s\n", s.Name)
		}
	}
	if failed {
		os.Exit(1)
	}
}
