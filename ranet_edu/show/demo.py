"""The demo: a page on which a video is segmented from a painted mask, and the network looked into (Gradio 6).

`ranet-edu demo` serves it; notebook 14 builds its core. Every step is an endpoint of the API under the name of the
handler. A visitor's state is one `Clip`, kept by Gradio for the session; what belongs to it lies in one folder, which
is removed when the page is closed; masks and what the editor sends lie beside it, where Gradio keeps uploads, for an
hour. Nothing is shared but the model, which looks at one frame at a time.
"""

from __future__ import annotations

import base64
import functools
import glob
import hashlib
import inspect
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ranet_edu.model.ranet import RANet
from ranet_edu.show import demo_inside, demo_session
from ranet_edu.show.demo_session import MAX_FRAMES, MAX_OBJECTS, MAX_SIDE, WORKING_SIDE, Clip, Progress
from ranet_edu.show.figures import frame_similarity
from ranet_edu.video.masks import OBJECT_COLOURS, overlay
from ranet_edu.video.segmenter import VideoSegmenter

MAX_BYTES = "200mb"
SIX_HOURS = 6 * 3600
"""For so long a page stays usable; what a browser left without a word is removed after that time."""
HOUR, TEN_MINUTES = 3600, 600
"""Every ten minutes Gradio removes uploads that are older than an hour."""
LIVE_SIDE = 640
LIVE_INTERVAL = 0.2
"""Pixels and seconds: how large and how often the frame at hand is sent while a run goes on."""
MESSAGE_SECONDS = 30
VIDEO_TYPES = [".mp4", ".mov", ".webm", ".gif", ".mkv", ".avi", ".m4v"]
COLOUR_NAMES = ("orange", "sky blue", "green", "yellow")
NETWORK_THREAD = ThreadPoolExecutor(1, "network")
"""All that PyTorch computes, from loading the weights on. It keeps a team of threads for each thread that calls it, and
where there are more of them than cores they sleep while they wait: with two teams a frame took a third longer."""
NO_MORE = object()
GONE = "The video is gone: another one was opened, its page was closed, or six hours are over. Open it again."

INTRODUCTION = """# Segment your own video

Paint an object in one frame; a neural network, RANet, finds it in all later ones. Choose an example or upload a video,
paint, press **Segment**. Then look inside the network to see why it worked, or why it did not.
"""
LIMITS = f"""A video may have {MAX_BYTES[:-2]} MB and {MAX_SIDE} pixels a side. Of its frames, {MAX_FRAMES} are
segmented at most (choose which); frames larger than {WORKING_SIDE} pixels are shrunk to that. There are up to
{MAX_OBJECTS} objects. One frame at a time is computed, so with several visitors you may wait in a queue.

**Expect mistakes** where an object looks like its surroundings or like another object, is thin or very small, moves far
from one frame to the next, or comes back after it was hidden. Cuts end it: choose frames of one shot. The network that
comes with this page is small and was trained briefly, to teach the method. If a mask goes wrong, correct it where it
begins to, and continue from there.

Your video stays on the machine that runs this page. It is removed with all that was made of it when you close the page
or open another video, and after six hours. Masks that you upload, your painting and the frame that you painted on are
removed within 70 minutes after they were sent. When the page's server ends, nothing stays.
"""
SCORES = """J: how well the found area agrees with the true mask; F: how well its outline does. Means over the predicted
frames without the last, as DAVIS counts.
"""
LAUNCH = {
    "server_name": "127.0.0.1",
    "share": False,
    "show_error": False,
    "max_file_size": MAX_BYTES,
    "run_history": False,  # would keep videos' names and results in the browser
    "enable_monitoring": False,
    "footer_links": ["api"],
    "quiet": True,
    "theme": gr.themes.Default(  # the machine's own fonts: the page asks nobody else for anything
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ),
    "css": """
        #live .html-container, #live .prose {padding: 0}
        #live img {width: 100%; margin: 0; border-radius: 6px}
        #editor .empty::after {content: "Choose a video first."}
        #editor :has(> .empty) > :not(.empty) {visibility: hidden}
        #progress {min-height: 2.5rem}
        #progress [data-testid=status-tracker] {height: 100%; overflow: visible}
        #progress .progress-text {transform: none}
        #progress .pending {opacity: 1}
        footer .divider {display: none}
        .figure .image-container {padding-top: 2.2rem}
        .gradio-container :focus-visible {outline: 3px solid #0072B2; outline-offset: 1px}
    """,
}
"""How the page is served: `build_demo(model).launch(**LAUNCH)`."""


@contextmanager
def serving(model: RANet, **launch: Any) -> Iterator[gr.Blocks]:
    """The demo, running while the block does; then the server has ended, and every upload and result is removed.

    launch: arguments of Gradio's `launch` beside those of LAUNCH.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="ranet_edu-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # where Gradio keeps uploads and looks for files that it may serve
        demo = build_demo(model)
        try:
            demo.launch(**LAUNCH | {"prevent_thread_lock": True} | launch)
            yield demo
        finally:
            demo.close(verbose=False)
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def build_demo(model: RANet) -> gr.Blocks:
    """The page, ready to launch; `model` stays as it is. Visitors' folders lie where Gradio keeps its own files."""
    return Page(model).blocks


def for_visitors(handler: Callable) -> Callable:
    """What a handler raises, said to the visitor: our own messages as they are, everything else without its inside."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def run(*arguments: Any) -> Iterator[Any]:
            with _messages(arguments):
                yield from handler(*arguments)
    else:

        @functools.wraps(handler)
        def run(*arguments: Any) -> Any:
            with _messages(arguments):
                return handler(*arguments)

    return run


def in_network_thread(handler: Callable) -> Callable:
    """A handler, or each step of one that yields, is run by the one thread that computes."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def run(*arguments: Any) -> Iterator[Any]:
            steps = handler(*arguments)
            try:
                while (step := NETWORK_THREAD.submit(next, steps, NO_MORE).result()) is not NO_MORE:
                    yield step
            finally:
                NETWORK_THREAD.submit(steps.close).result()
    else:

        @functools.wraps(handler)
        def run(*arguments: Any) -> Any:
            return NETWORK_THREAD.submit(handler, *arguments).result()

    return run


@contextmanager
def _messages(arguments: Sequence[Any]) -> Iterator[None]:
    clip = next((argument for argument in arguments if isinstance(argument, Clip)), None)
    try:
        yield
    except gr.Error:
        raise
    except (ValueError, ArithmeticError) as error:
        raise gr.Error(str(error), duration=MESSAGE_SECONDS, print_exception=False) from error
    except Exception as error:
        if isinstance(error, OSError) and clip is not None and not clip.is_open:
            text = GONE
        else:
            logging.getLogger(__name__).exception("the demo failed")
            text = "This should not have happened; the window in which the demo runs says more. Choose the video anew."
        raise gr.Error(text, duration=MESSAGE_SECONDS, print_exception=False) from error


class Page:
    """The page's components, and what happens when they are used. `blocks` is the whole."""

    def __init__(self, model: RANet) -> None:
        self.model = model
        self.sizes = working_sizes(model)
        self._secret = secrets.token_bytes(16)
        self._folder = tempfile.TemporaryDirectory(prefix="visitors-", dir=_upload_folder())
        gr.set_static_paths(self._folder.name)  # served from there, and not counted among what is removed by its age
        self.examples = [sequence.name for sequence in demo_session.examples()]
        with gr.Blocks(
            title="RANet: segment your own video", analytics_enabled=False, delete_cache=(TEN_MINUTES, HOUR)
        ) as self.blocks:
            self.clip = gr.State(None, time_to_live=SIX_HOURS, delete_callback=self._close)
            gr.Markdown(INTRODUCTION)
            with gr.Accordion("What it takes, and what it can't do", open=False):
                gr.Markdown(LIMITS)
            with gr.Row():
                with gr.Column(min_width=320):
                    self._lay_out_input()
                with gr.Column(min_width=320):
                    self._lay_out_run()
                    with gr.Column(visible=False) as self.result:
                        self._lay_out_result()
            with gr.Row(visible=False) as self.details:
                self._lay_out_details()
            with gr.Column(visible=False) as self.inside:
                self._lay_out_inside()
            self._connect()

    # --- components

    def _lay_out_input(self) -> None:
        gr.Markdown("## 1. Choose a video")
        self.example = gr.Radio(self.examples, label="Example (generated clips, true masks known)")
        self.upload = gr.File(label="Or your own video", file_types=VIDEO_TYPES, height=150, elem_id="upload")
        self.info = gr.Markdown("No video yet.", elem_id="info")
        with gr.Accordion("Which frames", open=False):
            self.first = gr.Slider(0, 1, value=0, step=1, label="First frame")
            self.last = gr.Slider(0, 1, value=1, step=1, label="Last frame")
            self.every = gr.Slider(1, 10, value=1, step=1, label="Take every n-th frame")
        gr.Markdown(
            "## 2. Paint the object\nCover it with the brush, as exactly as you can. The palette has a colour for each "
            f"object: {_objects()}."
        )
        colours = [f"rgb({red}, {green}, {blue})" for red, green, blue in OBJECT_COLOURS[:MAX_OBJECTS].tolist()]
        brush = gr.Brush(
            default_size=20,
            colors=[(colour, demo_session.BRUSH_ALPHA) for colour in colours],
            default_color=(colours[0], demo_session.BRUSH_ALPHA),
            color_mode="fixed",
        )
        self.editor = gr.ImageEditor(
            label="Frame to paint on",
            placeholder=" ",  # instead of Gradio's, which asks to draw on nothing; ours is in LAUNCH's style sheet
            brush=brush,
            eraser=gr.Eraser(default_size=20),
            sources=(),
            transforms=(),
            layers=False,
            canvas_size=(16, 16),  # below any frame: in a frame smaller than the canvas Gradio puts masks elsewhere
            format="png",
            interactive=True,
            elem_id="editor",
        )
        self.layers = gr.File(label="Painted layers", file_count="multiple", visible=False)
        with gr.Row():
            self.clear = gr.Button("Clear", size="sm", elem_id="clear")
            self.truth = gr.Button("Take the true mask", size="sm", visible=False, elem_id="truth")
        with gr.Accordion("Upload a mask instead", open=False):
            label = "Mask PNG: indexed labels, or 0 and 255"
            self.mask_file = gr.File(label=label, file_types=[".png"], height=150, elem_id="mask")

    def _lay_out_run(self) -> None:
        gr.Markdown("## 3. Segment")
        sizes = [(f"{name}, {width} x {height}", name) for name, (height, width) in self.sizes.items()]
        with gr.Accordion("Options", open=False):
            self.size = gr.Radio(sizes, value="standard", label="Working size: what the network looks at")
            self.learn = gr.Checkbox(label="Learn the painted frame first (RANet+, online learning)")
            self.seconds = gr.Slider(5, 120, value=20, step=5, label="Seconds of learning")
        with gr.Row():
            self.start = gr.Button("Segment", variant="primary", elem_id="segment")
            self.stop = gr.Button("Cancel", elem_id="cancel")
        self.progress = gr.Markdown("", elem_id="progress", container=False)
        self.live = gr.HTML("", elem_id="live")

    def _lay_out_result(self) -> None:
        gr.Markdown("## 4. Result")
        self.summary = gr.Markdown("", elem_id="summary")
        self.video = gr.Video(
            label="Overlay", interactive=False, elem_id="video", buttons=["download"], autoplay=True, loop=True
        )
        self.masks = gr.File(label="Masks (ZIP of indexed PNG)", interactive=False, elem_id="masks")

    def _lay_out_details(self) -> None:
        with gr.Column(min_width=320):
            self.curves = _figure(
                "Area and confidence of each object",
                "Curves over the frames: area, confidence and, where the true masks are known, J and F.",
            )
        with gr.Column(min_width=320):
            gr.Markdown(
                "### Correct a frame and continue\nWhere a mask goes wrong, put that frame into the editor, mend its "
                "mask, and press **Segment** again: the frames from there on are made anew, those before are kept."
            )
            self.wrong = gr.Slider(0, MAX_FRAMES - 1, value=0, step=1, label="Frame to correct", elem_id="wrong")
            self.correct = gr.Button("Put it into the editor", size="sm", elem_id="correct")
            gr.Markdown("### Transparent background\nThe objects alone, one PNG with alpha for each frame.")
            self.cut_out = gr.Button("Make cut-outs", size="sm", elem_id="cut")
            with gr.Column(visible=False) as self.cut:
                self.cut_outs = gr.File(label="Cut-outs (ZIP of transparent PNG)", interactive=False)

    def _lay_out_inside(self) -> None:
        gr.Markdown(
            "## 5. Look inside\nChoose a segmented frame and press the button. Then click a pixel of the template, the "
            "frame that was painted (or move the sliders): where does the frame look like it? The network ranks these "
            "maps and decodes the best with the mask of the frame before."
        )
        with gr.Row():
            self.frame = gr.Slider(0, MAX_FRAMES - 1, value=1, step=1, label="Frame", elem_id="frame", min_width=280)
            self.object = gr.Slider(1, MAX_OBJECTS, value=1, step=1, label=f"Object: {_objects()}", min_width=280)
        self.look = gr.Button("Look inside", elem_id="look")
        with gr.Row(visible=False) as self.pictures:
            with gr.Column(min_width=320):
                self.template = _figure(
                    "Template: click a pixel", "The frame whose mask was given, its objects tinted.", "template", []
                )
                rows, columns = self.model.config.template_grid
                self.row = gr.Slider(0, rows - 1, value=rows // 2, step=1, label="Template row")
                self.column = gr.Slider(0, columns - 1, value=columns // 2, step=1, label="Template column")
                self.similar = _figure(
                    "Where the frame looks like that pixel",
                    "Left the template with the chosen pixel, right its similarity map over the frame.",
                    "similar",
                )
            with gr.Column(min_width=320):
                self.ranked = _figure("The best-ranked maps", "Similarity maps with the highest scores.", "ranked")
                self.merged = _figure("After merging", "Foreground and background stream after the merge module.")
                self.previous = _figure(
                    "Previous mask on and off", "What is found with the previous mask, and without."
                )

    # --- events

    def _connect(self) -> None:
        network = {"concurrency_id": "network", "concurrency_limit": 1}  # one inference at a time
        # The editor is never where progress is shown, nor an input of what the server does: with each news of any run
        # Gradio would read it out and upload its three pictures, and leave a veil on it once it was painted on.
        at_info = {"show_progress_on": self.info}
        opened = [self.clip, self.editor, self.info, self.first, self.last, self.every, self.truth, *self._results()]
        self.example.input(self.open_example, [self.clip, self.example], opened, api_name="open_example", **at_info)
        video = self.upload.upload(self.open_video, [self.clip, self.upload], opened, api_name="open_video", **at_info)
        gr.on(
            [self.first.input, self.last.input, self.every.input],
            self.choose_frames,
            [self.clip, self.first, self.last, self.every],
            [self.editor, self.info, *self._results()],
            api_name="choose_frames",
            trigger_mode="always_last",
            show_progress="hidden",
            **at_info,
        )
        painted = [self.editor, self.info]
        given = [self.clip, self.mask_file]
        mask = self.mask_file.upload(self.use_mask, given, painted, api_name="use_mask", **at_info)
        for event, file in ((video, self.upload), (mask, self.mask_file)):  # taken or refused: room for another
            for end in (event.success, event.failure):
                end(None, outputs=file, js="() => null", api_name=False)
        self.truth.click(self.use_true_mask, self.clip, painted, api_name="use_true_mask", **at_info)
        cleared = [self.clear.click, self.editor.clear]  # the editor's own button takes the frame away too
        gr.on(cleared, self.clear_mask, self.clip, painted, api_name="clear_mask", **at_info)
        options = [self.size, self.learn, self.seconds]
        waiting = "() => 'Waiting for its turn.'"  # beside it Gradio writes the place in the queue
        self.start.click(None, outputs=self.progress, js=waiting, api_name=False)
        read = {"js": "editor => [editor.layers, '']", "api_name": False}
        run = self.start.click(None, self.editor, [self.layers, self.live], **read).then(
            self.segment,
            [self.clip, self.layers, *options],
            [self.progress, self.live],
            api_name="segment",
            show_progress="minimal",
            show_progress_on=self.progress,
            **network,
        )
        run.failure(None, outputs=self.progress, js="() => ''", api_name=False)
        shown = run.then(self.results, self.clip, self._results(), api_name="results", show_progress_on=self.progress)
        shown.then(lambda: "", outputs=self.live, api_name=False, show_progress="hidden")
        # What ends a run is the clip's flag; `cancels` also takes a run out of the queue that has not begun.
        self.stop.click(self.cancel, self.clip, self.progress, api_name="cancel", queue=False, cancels=[run])
        self.cut_out.click(lambda: gr.Column(visible=True), outputs=self.cut, queue=False, api_name=False)
        self.cut_out.click(self.make_cut_outs, self.clip, self.cut_outs, api_name="cut_outs")
        self.correct.click(
            self.correct_frame,
            [self.clip, self.wrong],
            painted,
            api_name="correct_frame",
            **at_info,
        ).then(None, js="() => document.getElementById('editor').scrollIntoView()")
        chosen = [self.clip, self.frame, self.row, self.column]
        self.template.select(self.pick_pixel, self.clip, [self.row, self.column], api_name=False)
        gr.on(
            [self.row.change, self.column.change],
            self.similarity,
            chosen,
            self.similar,
            api_name="similarity",
            trigger_mode="always_last",
            **network,
        )
        self.look.click(lambda: gr.Row(visible=True), outputs=self.pictures, queue=False, api_name=False)
        self.look.click(
            self.look_inside,
            [self.clip, self.frame, self.object],
            [self.template, self.ranked, self.merged, self.previous],
            api_name="look_inside",
            **network,
        ).then(self.similarity, chosen, self.similar, api_name=False, **network)
        self.blocks.unload(self.leave)

    def _results(self) -> list[gr.components.Component]:
        """What is shown of a run."""
        files = [self.video, self.masks, self.cut_outs, self.curves]
        shown = [self.result, self.details, self.inside, self.cut, self.pictures]
        return [self.summary, *files, self.wrong, self.frame, *shown, *self._looked_at()]

    def _looked_at(self) -> list[gr.Image]:
        return [self.template, self.similar, self.ranked, self.merged, self.previous]

    # --- handlers: each one an endpoint of that name

    @for_visitors
    def open_example(self, clip: Clip | None, name: str, request: gr.Request) -> dict:
        """Open a committed clip: cat, launch-pad or cat-coffee."""
        return self._opened(clip, demo_session.open_example(name, self._folder_of(request)))

    @for_visitors
    def open_video(self, clip: Clip | None, path: str, request: gr.Request) -> dict:
        """Open an uploaded video: MP4, MOV, WebM, GIF, MKV or AVI. It is kept in the session's folder."""
        if not path:
            raise ValueError("No video was given: choose a file.")
        kept = self._folder_of(request) / "upload" / secrets.token_hex(8) / Path(path).name
        kept.parent.mkdir(parents=True)
        try:
            _keep(path, kept)
            opened = demo_session.open_clip(kept, self._folder_of(request))
        except Exception:
            self._remove(kept)
            raise
        return self._opened(clip, opened)

    @for_visitors
    def choose_frames(self, clip: Clip | None, first: int, last: int, every: int) -> dict:
        """Work on frames first to last of the video, each every-th one; forgets results."""
        clip = _check_open(clip)
        shown = clip.numbers[clip.editing]
        demo_session.choose_frames(clip, int(first), int(last), int(every))
        editor = {} if clip.numbers[0] == shown else self._editor(clip)  # what was painted on that frame stays
        return editor | {self.info: describe(clip)} | self._no_results()

    @for_visitors
    def use_mask(self, clip: Clip | None, path: str) -> dict:
        """Take a mask PNG for the frame in the editor: DAVIS-indexed labels, or 0 and 255."""
        clip = _check_open(clip)
        clip.mask = demo_session.read_first_mask(path, clip)
        return self._editor(clip)

    @for_visitors
    def use_true_mask(self, clip: Clip | None) -> dict:
        """Take the true mask for the frame in the editor; the examples have one."""
        clip = _check_open(clip)
        clip.mask = demo_session.true_mask(clip, clip.editing)
        return self._editor(clip)

    @for_visitors
    def clear_mask(self, clip: Clip | None) -> dict:
        """Begin the mask of the frame in the editor anew."""
        clip = _check_open(clip)
        clip.mask = None
        return self._editor(clip)

    @for_visitors
    @in_network_thread
    def segment(
        self, clip: Clip | None, layers: list[str] | None, size: str, learn: bool, seconds: float
    ) -> Iterator[tuple[str, str]]:
        """Segment from the frame in the editor on. layers: what was painted, as RGBA pictures; None takes the mask that
        was uploaded. Yields the progress as text, and the frame at hand."""
        clip = _check_open(clip)
        mask = _painted(clip, layers)
        segmenter = VideoSegmenter(self.model, canvas=self.sizes[size])
        progress = None
        yield (f"Learning the painted frame for {seconds:.0f} s." if learn else "Beginning."), ""
        try:
            for progress in _sometimes(demo_session.segment(clip, segmenter, mask, seconds if learn else 0)):
                yield progress.text, live_picture(progress)
        except ValueError as error:
            if progress is None:
                raise
            yield f"Ended after frame {progress.index}: {error}", ""

    @for_visitors
    def cancel(self, clip: Clip | None) -> str:
        """End a run after the frame at hand, or while it learns; what is done stays."""
        if clip is None or not clip.running:
            return "Nothing is running any more."
        clip.stop.set()
        return "Cancelled. The frames that were done by then are kept."

    @for_visitors
    def results(self, clip: Clip | None, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
        """Summary, overlay video, masks as ZIP, cut-outs (made on demand), curves."""
        if clip is None:
            return self._no_results()
        with clip.in_use():
            return self._made_of(clip, progress) if clip.records else self._no_results()

    @for_visitors
    def make_cut_outs(self, clip: Clip | None, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        """The objects on a transparent background, as ZIP of PNG."""
        clip = _check_open(clip)
        with clip.in_use():
            clip.check_done(0)
            path = clip.new_file(f"cut-outs-{clip.name}.zip")
            indices = progress.tqdm(range(len(clip.records)), desc="cutting out")
            demo_session.write_cut_outs(clip, path, indices)
        return str(path)

    @for_visitors
    def correct_frame(self, clip: Clip | None, index: int) -> dict:
        """Put a segmented frame and its mask into the editor; segment then goes on from there."""
        clip = _check_open(clip)
        demo_session.correct_frame(clip, int(index))
        return self._editor(clip)

    @for_visitors
    @in_network_thread
    def similarity(self, clip: Clip | None, index: int, row: int, column: int) -> str | None:
        """Where frame `index` looks like a pixel (row, column) of the template's grid."""
        if clip is None or not clip.records:
            return None
        with clip.in_use():
            clip.check_done(int(index))
            template, frame = clip.frame(_given_before(clip, int(index))), clip.frame(int(index))
        maps = frame_similarity(clip.segmenter.model, template, frame)
        figure = demo_inside.pixel_figure(template, frame, maps, (int(row), int(column)))
        return self._picture(clip, "similarity", figure)

    @for_visitors
    @in_network_thread
    def look_inside(self, clip: Clip | None, index: int, label: int) -> tuple[str, str, str, str]:
        """Template, best-ranked maps, merged streams, and the previous mask on and off, for one object of a frame."""
        clip = _check_open(clip)
        template = clip.new_file("template.jpg")
        with clip.in_use():
            inside = demo_inside.look_inside(clip, int(index), int(label))
            given = _given_before(clip, int(index))
            Image.fromarray(overlay(clip.frame(given), clip.labels(given), alpha=0.2)).save(template)
        draw = {
            "ranked": demo_inside.ranked_figure,
            "merged": demo_inside.merged_figure,
            "previous": demo_inside.previous_mask_figure,
        }
        return str(template), *(self._picture(clip, name, figure(inside)) for name, figure in draw.items())

    def pick_pixel(self, clip: Clip | None, event: gr.SelectData) -> tuple[int, int]:
        """The template's row and column under the mouse."""
        (x, y), (height, width), (rows, columns) = event.index, clip.size, self.model.config.template_grid
        return min(y * rows // height, rows - 1), min(x * columns // width, columns - 1)

    def leave(self, request: gr.Request) -> None:
        """The page was closed: remove all that belongs to it."""
        folder = self._folder_of(request)
        for kept in glob.glob("upload/*/*", root_dir=folder):
            self._remove(folder / kept)
        shutil.rmtree(folder, ignore_errors=True)

    # --- helpers

    def _folder_of(self, request: gr.Request) -> Path:
        """A session's own folder, whose name can't be guessed."""
        if not request.session_hash:
            raise ValueError("This call belongs to no session: use gradio_client, or send a session_hash.")
        name = hashlib.sha256(self._secret + request.session_hash.encode()).hexdigest()[:32]
        return Path(self._folder.name) / name

    def _close(self, clip: Clip | None) -> None:
        if clip is not None:
            clip.close()
            if clip.truth is None:
                self._remove(clip.source.path)

    def _remove(self, kept: Path) -> None:
        """Remove a video from the session's folder, and Gradio's name of it, unless it was uploaded once more since."""
        uploads = Path(self._folder.name).parent
        for name in glob.glob(f"*/{glob.escape(kept.name)}", root_dir=uploads):
            with suppress(FileNotFoundError):
                if kept.samefile(uploads / name):
                    (uploads / name).unlink()
        shutil.rmtree(kept.parent, ignore_errors=True)

    def _opened(self, before: Clip | None, clip: Clip) -> dict:
        if before is not None:
            self._close(before)
        last = clip.length - 1
        frames = {
            self.first: gr.Slider(maximum=max(1, last), value=0),
            self.last: gr.Slider(maximum=max(1, last), value=clip.numbers[-1]),
            self.every: 1,
            self.truth: gr.Button(visible=clip.truth is not None),
        }
        return {self.clip: clip} | self._editor(clip) | frames | self._no_results()

    def _made_of(self, clip: Clip, progress: gr.Progress) -> dict:
        """Write what is shown of a run, and show it."""
        video, masks = clip.new_file("overlay.mp4"), clip.new_file(f"masks-{clip.name}.zip")
        count = len(clip.records)
        demo_session.write_overlay(clip, video, progress.tqdm(range(count), desc="writing the video"))
        demo_session.write_mask_zip(clip, masks)
        curves = self._picture(clip, "curves", demo_inside.run_figure(clip.records, clip.given))
        last = max(1, count - 1)
        wrong, frame = gr.Slider(maximum=last, value=min(1, count - 1)), gr.Slider(maximum=last, value=_predicted(clip))
        files = {self.video: str(video), self.masks: str(masks), self.curves: curves}
        shown = dict.fromkeys((self.result, self.details, self.inside), gr.update(visible=True))
        told = {self.summary: summarise(clip), self.wrong: wrong, self.frame: frame}
        return told | files | shown | self._nothing_asked_for()

    def _no_results(self) -> dict:
        empty = dict.fromkeys((self.video, self.masks, self.curves))
        hidden = dict.fromkeys((self.result, self.details, self.inside), gr.update(visible=False))
        hidden |= dict.fromkeys((self.wrong, self.frame), gr.Slider(maximum=MAX_FRAMES - 1))  # until a run says more
        told = {self.summary: "Nothing is segmented yet: paint the object and press Segment."}
        return told | empty | hidden | self._nothing_asked_for()

    def _nothing_asked_for(self) -> dict:
        """What is only made on demand: away, until it is demanded again."""
        empty = dict.fromkeys((self.cut_outs, *self._looked_at()))
        return empty | dict.fromkeys((self.cut, self.pictures), gr.update(visible=False))

    def _editor(self, clip: Clip) -> dict:
        """The frame in the editor with its mask, and what it is. The editor asks again for what it showed before, so
        that stays until the clip is closed."""
        view, layers = clip.folder / "view", []
        background = view / f"frame-{clip.numbers[clip.editing]}.png"
        if not background.exists():
            frame = clip.frame(clip.editing) if clip.editing else next(clip.frames())
            Image.fromarray(frame).save(background, compress_level=1)
        if clip.mask is not None:
            layers = [str(view / f"mask-{secrets.token_hex(4)}.png")]
            Image.fromarray(demo_session.layer_of_labels(clip.mask)).save(layers[0])
        value = {"background": str(background), "layers": layers, "composite": None}
        return {self.editor: value, self.info: describe(clip)}

    def _picture(self, clip: Clip, name: str, figure: Figure) -> str:
        path = clip.new_file(f"{name}.png")
        figure.savefig(path)
        return str(path)


def working_sizes(model: RANet) -> dict[str, tuple[int, int]]:
    """Frame sizes (height, width) that the network may look at, by name; of a network for one size, that one."""
    height, width = model.canvas
    sizes = {"standard": (height, width)}
    if not model.config.fixed_size:
        sizes = {"small": (height * 3 // 4, width * 3 // 4)} | sizes | {"large": (height * 3 // 2, width * 3 // 2)}
    return sizes


def describe(clip: Clip) -> str:
    """What is open, and what is in the editor."""
    height, width = clip.source.size
    text = f"**{clip.name}**: {width} x {height}, {clip.length} frames, {clip.source.fps:.1f} a second."
    if clip.size != (height, width):
        text += f" Shrunk to {clip.size[1]} x {clip.size[0]}."
    seconds = len(clip.numbers) / clip.fps
    text += f" {len(clip.numbers)} frames ({seconds:.1f} s) will be segmented."
    if len(clip.numbers) == MAX_FRAMES < clip.length:
        text += " That is the most; choose which under *Which frames*."
    if clip.editing:
        text += f" In the editor: frame {clip.editing}. **Segment** continues from it and keeps the frames before."
    return text


def summarise(clip: Clip) -> str:
    """How far a run came, and its scores."""
    done, count = len(clip.records), len(clip.numbers)
    text = f"{done} frames are segmented." if done == count else f"{done} of {count} frames are segmented."
    scores = demo_session.mean_scores(clip)
    if scores:
        named = {f"{label} {COLOUR_NAMES[label - 1]}": pair for label, pair in scores.items()}
        rows = "".join(f"| {name} | {100 * j:.1f} | {100 * f:.1f} |\n" for name, (j, f) in named.items())
        text += f"\n\n| object | J mean, % | F mean, % |\n| --- | --- | --- |\n{rows}\n{SCORES}"
    return text


def live_picture(progress: Progress) -> str:
    """The frame just segmented, as HTML that needs no file."""
    painted = overlay(progress.frame, progress.labels)
    scale = min(1, LIVE_SIDE / max(painted.shape[:2]))
    small = cv2.resize(painted, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    source = base64.b64encode(jpeg).decode()
    return f'<img alt="Frame {progress.index} with its objects tinted" src="data:image/jpeg;base64,{source}">'


def _sometimes(run: Iterator[Progress]) -> Iterator[Progress]:
    """The first, the last, and in between so many that a slow connection keeps up."""
    shown, progress = -LIVE_INTERVAL, None
    for progress in run:
        now = time.monotonic()
        if now - shown >= LIVE_INTERVAL or progress.index == progress.count - 1:
            shown = now
            yield progress


def _objects() -> str:
    """How the page calls the objects: 1 orange, 2 sky blue ..."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(COLOUR_NAMES, start=1))


def _figure(
    label: str, alt_text: str, elem_id: str | None = None, buttons: Sequence[str] = ("fullscreen",)
) -> gr.Image:
    return gr.Image(
        label=label,
        type="filepath",
        interactive=False,
        alt_text=alt_text,
        elem_id=elem_id,
        elem_classes="figure",
        buttons=list(buttons),
    )


def _given_before(clip: Clip, index: int) -> int:
    """The frame that was the template when `index` was segmented."""
    return max(number for number in clip.given if number <= index)


def _predicted(clip: Clip) -> int:
    """A frame to look into: the first after the last given mask, or the last that was predicted at all."""
    predicted = [number for number in range(len(clip.records)) if number not in clip.given]
    return min((number for number in predicted if number > max(clip.given)), default=max(predicted, default=0))


def _check_open(clip: Clip | None) -> Clip:
    if clip is None:
        raise ValueError("No video is open: choose an example or upload a video first.")
    if not clip.is_open:
        raise ValueError(GONE)
    return clip


def _painted(clip: Clip, layers: list[str] | None) -> np.ndarray:
    """The mask to begin with: the editor's layers, or without these the one that was uploaded or taken."""
    if layers is not None:
        return demo_session.check_mask(demo_session.labels_of_layers(map(demo_session.read_layer, layers), clip.size))
    return demo_session.check_mask(np.zeros(clip.size) if clip.mask is None else clip.mask)


def _keep(upload: str | Path, kept: Path) -> None:
    """A second name for an upload, or a copy of it. Gradio has one file for all uploads of the same content, so that
    another visitor may be about to open it, too. Raises ValueError where it is gone."""
    try:
        os.link(upload, kept)
    except FileNotFoundError as error:
        raise ValueError(f"{kept.name} is no longer there: upload it again.") from error
    except OSError:  # the disk has no links
        shutil.copyfile(upload, kept)


def _upload_folder() -> Path:
    """Where Gradio keeps uploads; files in it can be shown without a copy."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
