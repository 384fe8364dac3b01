defmodule ReadmeTest do
  # The README's sessions, run as they stand there. What needs a second node is left out.
  use ExUnit.Case

  @readme File.read!(Path.join(__DIR__, "../README.md"))

  defp block(language) do
    [_, block] = Regex.run(~r/## A session.*?```#{language}\n(.*?)```/s, @readme)
    String.split(block, "\n", trim: true)
  end

  test "the Elixir session gives what it says" do
    lines = Enum.drop_while(block("elixir"), &(not String.starts_with?(&1, "iex> ")))

    Enum.reduce(lines, {nil, []}, fn
      "iex> " <> expression, {_, binding} ->
        Code.eval_string(expression, binding)

      expected, {value, binding} ->
        assert value == elem(Code.eval_string(expected), 0)
        {value, binding}
    end)

    Ferrets.stop(:readme)
  end

  test "the Erlang session runs" do
    lines = Enum.filter(block("erlang"), &(&1 =~ ~r/^[1237]> /))
    assert length(lines) == 4

    Enum.reduce(lines, :erl_eval.new_bindings(), fn line, bindings ->
      {:ok, tokens, _} =
        line |> String.replace(~r/^\d> /, "") |> to_charlist() |> :erl_scan.string()

      {:ok, expressions} = :erl_parse.parse_exprs(tokens)
      {:value, _, bindings} = :erl_eval.exprs(expressions, bindings)
      bindings
    end)

    assert Ferrets.lookup(:sessions, {"anna", :phone}) == []
    Ferrets.stop(:sessions)
  end
end
