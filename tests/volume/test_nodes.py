"""The table of nodes: which number the kernel knows a lower inode by (``encfs/volume/node.py``)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.units import LowerName
from encfs.volume.node import Node, NodeTable

A, B, C = LowerName(b"A"), LowerName(b"B"), LowerName(b"C")


@pytest.fixture
def table() -> NodeTable:
    """A table with the root only, whose lower inode is 500."""
    return NodeTable(Node(NodeTable.ROOT, None, LowerName(b"")), 500)


def root(table: NodeTable) -> Node:
    """Number 1."""
    node = table.get(1)
    assert node is not None
    return node


def ghost(node: Node) -> None:
    """What removing the last name does."""
    node.parent = None
    node.ghost = object()  # type: ignore[assignment]


def test_root_is_number_one(table: NodeTable) -> None:
    """The root has number 1 whatever its lower inode, and is never dropped."""
    assert table.find(500) is root(table)
    assert table.meet(500, root(table), A) is root(table)
    table.forget(1, 1_000_000)
    assert table.get(1) is not None


def test_lower_inode_number_one(table: NodeTable) -> None:
    """A lower inode that has the root's number gets a stand-in."""
    node = table.meet(1, root(table), A)
    assert node is not root(table)
    assert node.inode > 1 << 60
    assert table.find(1) is node
    assert table.meet(1, root(table), A) is node


def test_meeting_and_forgetting(table: NodeTable) -> None:
    """One lower inode is one node until the kernel gives its last reference back."""
    node = table.meet(7, root(table), A)
    assert (node.inode, node.parent, node.lower_name) == (7, root(table), A)
    node.lookups += 2
    assert table.meet(7, root(table), A) is node
    table.forget(7, 1)
    assert table.find(7) is node
    table.forget(7, 1)
    assert table.find(7) is None
    assert len(table) == 1
    table.forget(7, 1)


def test_open_file_keeps_its_node(table: NodeTable) -> None:
    """A node with an open file stays although the kernel has forgotten it."""
    node = table.meet(7, root(table), A)
    node.file = object()  # type: ignore[assignment]
    table.drop_if_unused(node)
    assert table.find(7) is node
    node.file = None
    table.drop_if_unused(node)
    assert table.find(7) is None


def test_several_places(table: NodeTable) -> None:
    """Hard links: a node that loses one place is at another."""
    node = table.meet(7, root(table), A)
    table.meet(7, root(table), B)
    table.meet(7, root(table), C)
    table.meet(7, root(table), B)
    node.remove_place(root(table), A)
    assert node.lower_name in (B, C)
    node.remove_place(root(table), B)
    assert (node.parent, node.lower_name) == (root(table), C)
    node.move_place(root(table), C, root(table), A)
    assert (node.parent, node.lower_name, node.places) == (root(table), A, None)
    node.remove_place(root(table), B)
    assert node.lower_name == A
    node.remove_place(root(table), A)
    assert node.parent is None


def test_reused_inode_is_another_node(table: NodeTable) -> None:
    """A lower inode that was freed and used again is a new generation; old references are still counted."""
    old = table.meet(7, root(table), A)
    old.lookups = 3
    ghost(old)
    new = table.meet(7, root(table), B)
    assert new is not old
    assert (new.inode, new.generation, new.lookups) == (7, old.generation + 1, 3)
    new.lookups += 1
    table.forget(7, 3)
    assert table.find(7) is new
    table.forget(7, 1)
    assert table.find(7) is None


def test_handles_of_what_is_gone(table: NodeTable) -> None:
    """A number and generation that was given once never names another object, also when nothing refers to the old one;
    what is only forgotten and met again may keep it. Another life of the table starts elsewhere.
    """
    first = table.meet(7, root(table), A)
    table.drop_if_unused(first)
    assert table.meet(7, root(table), A).generation == first.generation
    gone = table.meet(7, root(table), A)
    ghost(gone)
    table.drop_if_unused(gone)
    assert table.meet(7, root(table), B, fresh=True).generation != gone.generation
    later = NodeTable(Node(NodeTable.ROOT, None, LowerName(b"")), 500, first_generation=(1 << 32) - 1)
    again = later.meet(7, root(later), A)
    assert again.generation == (1 << 32) - 1
    ghost(again)
    assert later.meet(7, root(later), B).generation == 0


def test_freshly_created_is_never_an_old_node(table: NodeTable) -> None:
    """What was just created is a new node even where nobody saw the old one go."""
    old = table.meet(7, root(table), A)
    old.lookups = 1
    new = table.meet(7, root(table), B, fresh=True)
    assert new is not old
    assert new.generation == old.generation + 1
    assert (new.parent, new.lower_name, new.places) == (root(table), B, None)


def test_unlinked_open_file_found_again(table: NodeTable) -> None:
    """A ghost whose file is open still has its lower inode, so a link that is found makes it whole."""
    node = table.meet(7, root(table), A)
    node.file = object()  # type: ignore[assignment]
    ghost(node)
    assert table.meet(7, root(table), B) is node
    assert (node.ghost, node.lower_name) == (None, B)


def test_renumbered_symlink_keeps_its_number(table: NodeTable) -> None:
    """A symlink that is replaced below keeps the number the kernel knows, and is found by the new inode."""
    node = table.meet(7, root(table), A)
    node.lookups = 1
    table.renumber(node, 8)
    assert table.find(8) is node
    assert table.find(7) is None
    assert table.get(7) is node
    assert table.meet(8, root(table), A) is node
    table.renumber(node, 9)
    assert table.find(8) is None
    assert table.find(9) is node
    table.forget(7, 1)
    assert len(table) == 1
    assert table.meet(9, root(table), A).inode == 9


def test_old_inode_of_a_renumbered_symlink(table: NodeTable) -> None:
    """The inode it left is used by another file: that gets a stand-in while the number is taken."""
    symlink = table.meet(7, root(table), A)
    symlink.lookups = 1
    table.renumber(symlink, 8)
    other = table.meet(7, root(table), B, fresh=True)
    other.lookups = 1
    assert other is not symlink
    assert other.inode not in (7, 8)
    assert table.find(7) is other
    assert table.find(8) is symlink
    table.forget(symlink.inode, 1)
    assert table.find(7) is other
    table.forget(other.inode, 1)
    assert len(table) == 1


def test_renumbered_back_to_its_own_number(table: NodeTable) -> None:
    """A symlink gets the inode back that it had at first, whose other user is a ghost by now."""
    symlink = table.meet(7, root(table), A)
    symlink.lookups = 1
    table.renumber(symlink, 8)
    other = table.meet(7, root(table), B, fresh=True)
    other.lookups = 1
    ghost(other)
    table.renumber(symlink, 7)
    assert table.find(7) is symlink
    assert table.meet(7, root(table), A) is symlink
    table.forget(other.inode, 1)
    assert table.find(7) is symlink


def test_ghost_does_not_take_another_nodes_alias(table: NodeTable) -> None:
    """A forgotten stand-in leaves alone what its old lower inode has become."""
    first = table.meet(7, root(table), A)
    first.lookups = 1
    table.renumber(first, 8)
    stand_in = table.meet(7, root(table), B, fresh=True)
    stand_in.lookups = 1
    ghost(stand_in)
    second = table.meet(20, root(table), C)
    second.lookups = 1
    table.renumber(second, 7)
    assert table.find(7) is second
    table.forget(stand_in.inode, 1)
    assert table.find(7) is second
    assert table.meet(7, root(table), C) is second


@given(
    st.lists(
        st.tuples(st.sampled_from(["create", "lookup", "unlink", "replace", "forget"]), st.integers(0, 3)), max_size=60
    )
)
def test_numbers_are_never_mixed_up(todo: list[Any]) -> None:
    """Against a small model: each living object has one node, and no number stands for two living objects."""
    table = NodeTable(Node(NodeTable.ROOT, None, LowerName(b"")), 500)
    free = [10, 11, 12]  # lower inodes, used again soon
    living: dict[int, tuple[int, Node]] = {}  # slot: lower inode and node
    known: list[Node] = []  # one entry for each reference that the kernel holds
    for what, slot in todo:
        if what == "create" and slot not in living and free:
            inode = free.pop(0)
            node = table.meet(inode, root(table), LowerName(b"%d" % slot), fresh=True)
            node.lookups += 1
            known.append(node)
            living[slot] = (inode, node)
        elif what == "lookup" and slot in living:
            inode, node = living[slot]
            found = table.meet(inode, root(table), LowerName(b"%d" % slot))
            if node in known:
                assert found is node
            found.lookups += 1
            known.append(found)
            living[slot] = (inode, found)
        elif what == "unlink" and slot in living:
            inode, _ = living.pop(slot)
            held = table.find(inode)
            if held is not None:
                ghost(held)
                table.drop_if_unused(held)
            free.append(inode)
        elif what == "replace" and slot in living and free:
            inode, node = living[slot]
            if table.find(inode) is node:
                fresh = free.pop(0)
                table.renumber(node, fresh)
                free.append(inode)
                living[slot] = (fresh, node)
        elif what == "forget" and known:
            node = known.pop(slot % len(known))
            table.forget(node.inode, 1)
        for inode, node in living.values():
            if node in known:
                assert table.find(inode) is node
                assert table.get(node.inode) is node
        numbers = [node.inode for _, node in living.values() if node in known]
        assert len(numbers) == len(set(numbers))
    for node in known:
        table.forget(node.inode, 1)
    assert len(table) == 1
