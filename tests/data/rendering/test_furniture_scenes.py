import numpy as np
import pytest

from slade_plugin.data.rendering.furniture_scenes import (
    Scene,
    develop,
    draw_scene,
    is_blank,
)

EXTENT = np.array([0.8, 1.5, 0.4])
OTHERS = [np.array([0.5, 1.8, 0.5], np.float32), np.array([1.2, 0.4, 1.4], np.float32)]


def scenes(number: int) -> list[Scene]:
    return [
        draw_scene(EXTENT, OTHERS, textures=5, rng=np.random.default_rng([1, seed]))
        for seed in range(number)
    ]


def test_the_same_numbers_give_the_same_scene() -> None:
    first, second = (draw_scene(EXTENT, OTHERS, 5, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_equal(vars(first.camera), vars(second.camera))
    np.testing.assert_equal(vars(first.light), vars(second.light))
    np.testing.assert_equal(first.walls, second.walls)
    np.testing.assert_equal(first.clutter, second.clutter)


def test_the_camera_sees_the_object_from_above_the_floor_and_mostly_from_the_front() -> None:
    front = 0
    for scene in scenes(300):
        camera = scene.camera
        assert camera.eye[1] >= 0.08
        np.testing.assert_allclose(camera.target[[0, 2]], 0)
        assert 0.6 <= camera.target[1] <= 0.9  # 0.4 to 0.6 of its height
        away = camera.eye - camera.target
        assert 1.5 < np.linalg.norm(away) < 9
        assert camera.up @ away == pytest.approx(0, abs=1e-9)
        assert camera.up[1] > 0.5
        front += camera.eye[2] > 0
    assert 0.75 < front / 300 < 0.95


def test_nothing_stands_in_front_of_the_object_and_half_of_the_images_are_empty() -> None:
    empty = 0
    for scene in scenes(300):
        towards = (scene.camera.eye - scene.camera.target) * (1, 0, 1)
        towards /= np.linalg.norm(towards)
        for number, matrix in scene.clutter:
            place, scale = matrix[:3, 3], np.linalg.norm(matrix[:3, 0])
            assert place[1] == 0
            distance = np.linalg.norm(place)
            assert place @ towards <= 0.36 * distance
            widths = EXTENT[0] + scale * max(OTHERS[number][[0, 2]])
            assert 0.999 * widths / 2 <= distance <= 1.501 * widths / 2
        empty += not scene.clutter
    assert 0.4 < empty / 300 < 0.6


def test_walls_stand_behind_the_object_and_face_it() -> None:
    rooms = [scene for scene in scenes(200) if scene.walls]
    assert 0.45 < len(rooms) / 200 < 0.65
    assert {len(scene.walls) for scene in rooms} == {1, 2}
    for scene in rooms:
        assert scene.backdrop is None
        for texture, matrix in scene.walls:
            assert 0 <= texture < 5
            facing = matrix[:3, 2] / np.linalg.norm(matrix[:3, 2])
            # The object's center lies in front of the wall, beyond its own half width.
            assert -(matrix[:3, 3] @ facing) >= EXTENT[0] / 2


def test_other_places_have_a_picture_behind_and_some_no_floor() -> None:
    drawn = scenes(300)
    for scene in drawn:
        assert (scene.backdrop is None) == bool(scene.walls)
        if scene.backdrop is not None:
            left, bottom, width, height = scene.backdrop[1]
            assert 0 <= left <= left + width <= 1
            assert 0 <= bottom <= bottom + height <= 1
    assert 0.1 < np.mean([scene.floor is None for scene in drawn]) < 0.2
    assert all(scene.backdrop is not None for scene in drawn if scene.floor is None)


def test_without_other_objects_there_is_no_clutter() -> None:
    for seed in range(10):
        assert draw_scene(EXTENT, [], 1, np.random.default_rng(seed)).clutter == ()


def test_the_exposure_makes_dark_and_bright_scenes_alike() -> None:
    light = np.random.default_rng(0).uniform(0.5, 1, (96, 96, 3)).astype(np.float32)
    dark, bright = (develop(light * k, np.random.default_rng(1)) for k in (1, 10))
    assert (dark.shape, dark.dtype) == ((96, 96, 3), np.uint8)
    assert np.abs(dark.astype(int) - bright).max() <= 1
    night = develop(light * 0.01, np.random.default_rng(1))  # it does not turn night into day
    assert night.mean() < 0.4 * dark.mean()


def test_more_light_is_brighter_and_channels_stay_apart() -> None:
    ramp = np.zeros((8, 64, 3), np.float32)
    ramp[..., 0] = np.linspace(0, 1, 64)
    image = develop(ramp, np.random.default_rng(2)).astype(int)
    columns = image[..., 0].mean(axis=0)
    assert columns[-8:].mean() > columns[28:36].mean() > columns[:8].mean()
    assert image[..., 1].mean() < columns.mean() / 2


def test_blank_images_are_found() -> None:
    assert is_blank(np.full((96, 96, 3), 130, np.uint8))
    noise = np.random.default_rng(0).normal(40, 4, (96, 96, 3)).astype(np.uint8)
    assert is_blank(noise)
    noise[30:60, 30:60] = 90
    assert not is_blank(noise)
